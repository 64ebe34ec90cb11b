"""Texts to embed: which may be, and which go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from libs.errors.errors import FieldViolation, InvalidArgumentError, Reason, invalid_field

MAX_CHARACTERS = 1_048_576
MAX_TOLD = 20


def check_texts(texts: Sequence[str]) -> None:
    """Raises InvalidArgumentError that names the texts of white space only, or says that all are too long together."""
    blank = [at for at, text in enumerate(texts) if not text or text.isspace()]
    if blank:
        violations = [FieldViolation(f"texts[{at}]", "must not be only white space") for at in blank[:MAX_TOLD]]
        raise InvalidArgumentError(
            Reason.FIELD_INVALID, f"texts[{blank[0]}]: must not be only white space", violations=violations
        )
    characters = sum(map(len, texts))
    if characters > MAX_CHARACTERS:
        raise invalid_field("texts", f"has {characters} characters together; at most {MAX_CHARACTERS} are taken")


def most_tokens(text: str, max_tokens: int) -> int:
    """A bound of the tokens that a model reads of a text, without counting: a byte is a token at most, and two mark
    the text's ends."""
    return min(len(text.encode()) + 2, max_tokens)


def batches(token_counts: Sequence[int], *, batch_tokens: int, batch_texts: int) -> Iterator[list[int]]:
    """Splits the positions of `token_counts` into batches, shortest texts first, so that little is padded.

    A batch has at most `batch_texts` texts and, all padded to its longest, at most `batch_tokens` tokens; a text that
    is longer than that is alone. Every position is in exactly one batch.
    """
    batch: list[int] = []
    for position in sorted(range(len(token_counts)), key=token_counts.__getitem__):
        if batch and (len(batch) == batch_texts or token_counts[position] * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
