"""Reads the markers [n] of citations out of a text that arrives in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# All repetitions are bounded, so what must be held back is bounded too, and it does not matter where the text was
# split.
_NUMBERS = r"\d{1,9}(?:,[ ]?\d{1,9}){0,19}"
_MARKER = re.compile(rf"([ \t]{{0,8}})\[({_NUMBERS})\]")
_MAYBE_MARKER = re.compile(rf"[ \t]{{0,8}}(?:\[(?:{_NUMBERS}(?:,[ ]?)?)?)?\Z")
_BRACKETED = re.compile(rf"\[({_NUMBERS})\]")


@dataclass(frozen=True)
class AnswerPiece:
    """Text of an answer, never empty. `citation`: the n of the marker [n] that ends it; None where no marker does."""

    text: str
    citation: int | None = None


class CitationReader:
    """Cuts a text into pieces such that each marker of a shown passage ends one.

    `[1, 2]` becomes `[1][2]`. The marker of a passage that was not shown is left out together with the blanks before
    it (at the start of a line, with those behind it). White space around the whole text is left out. However the text
    is split between `feed` calls, the pieces' texts and citations add up to the same.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._held = ""
        self._space = ""
        self._last = ""
        self._skip_blanks = False

    def feed(self, text: str) -> Iterator[AnswerPiece]:
        """More text; returns what is now certain."""
        text = self._held + text
        ready = ""
        position = 0
        for marker in _MARKER.finditer(text):
            ready += self._emit(text[position : marker.start()])
            position = marker.end()
            known = [number for number in map(int, marker[2].split(",")) if 1 <= number <= self._shown]
            if not known and self._last in ("", "\n"):
                self._skip_blanks = True
            for index, number in enumerate(known):
                yield AnswerPiece(ready + self._emit(f"{'' if index else marker[1]}[{number}]"), number)
                ready = ""
        rest = text[position:]
        open_marker = _MAYBE_MARKER.search(rest)
        certain = open_marker.start() if open_marker else len(rest)
        self._held = rest[certain:]
        ready += self._emit(rest[:certain])
        if ready:
            yield AnswerPiece(ready)

    def finish(self) -> Iterator[AnswerPiece]:
        """The end of the text; returns what was held back."""
        rest = self._emit(self._held.rstrip())
        self._held = ""
        if rest:
            yield AnswerPiece(rest)

    def _emit(self, text: str) -> str:
        """`text` without blanks that are to be left out; white space at its end waits for what follows."""
        if not self._last:
            text = text.lstrip()
        elif self._skip_blanks:
            text = text.lstrip(" \t")
        if not text:
            return ""
        self._skip_blanks = False
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        self._last = text[-1]
        return body


def neutralised(text: str) -> str:
    """`text` in which no bracketed number can be taken for a marker: `a[0]` becomes `a[ 0 ]`."""
    return _BRACKETED.sub(r"[ \1 ]", text)


def without_markers(text: str) -> str:
    """`text` without its markers and the blanks before them."""
    return _MARKER.sub("", text)
