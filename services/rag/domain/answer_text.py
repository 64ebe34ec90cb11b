"""Turns what the model writes into the pieces of an answer, or finds that the model found nothing."""

from __future__ import annotations

from collections.abc import Iterator

from services.rag.domain.citations import AnswerPiece, CitationReader, without_markers

NOT_FOUND_SENTENCE = "Not found in the sources."
"""What the model is told to write, and nothing else, when the sources do not answer the question."""

_NOT_FOUND = NOT_FOUND_SENTENCE.casefold().rstrip(".")


class AnswerReader:
    """Reads an answer as it is written. Text that may still become the not-found sentence is held back until that is
    decided."""

    def __init__(self, shown: int) -> None:
        self._citations = CitationReader(shown)
        self._undecided: str | None = ""

    @property
    def is_not_found(self) -> bool:
        """After `finish`: whether the model wrote the not-found sentence, or nothing at all."""
        return self._undecided is not None

    def feed(self, text: str) -> Iterator[AnswerPiece]:
        """More of what the model wrote; returns the pieces that are now certain."""
        if self._undecided is None:
            yield from self._citations.feed(text)
            return
        self._undecided += text
        if not _may_become_not_found(self._undecided):
            undecided, self._undecided = self._undecided, None
            yield from self._citations.feed(undecided)

    def finish(self) -> Iterator[AnswerPiece]:
        """The end of what the model wrote; returns the last pieces."""
        if self._undecided is not None and not _is_not_found(self._undecided):
            undecided, self._undecided = self._undecided, None
            yield from self._citations.feed(undecided)
        if self._undecided is None:
            yield from self._citations.finish()


def _may_become_not_found(text: str) -> bool:
    start = text.lstrip().casefold()
    if len(start) <= len(_NOT_FOUND):
        return _NOT_FOUND.startswith(start)
    rest = start.removeprefix(_NOT_FOUND)
    return rest != start and len(rest) <= 12 and not rest.strip(". \n\t[],0123456789")


def _is_not_found(text: str) -> bool:
    sentence = without_markers(text).strip().casefold().rstrip(".")
    return sentence in ("", _NOT_FOUND)
