"""Cuts a parsed text into passages: first by its structure, then so that each has at most so many tokens."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.rag.domain.parsed_text import ParsedText

Span = tuple[int, int]
"""Where a token stands in its text, in code points; the end is exclusive."""

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[Span]]]

_SENTENCE_END = re.compile(r"[.!?:;][\"')\]]*\s+|\n+")
_WORD_END = re.compile(r"\s+")
_LONG_TOKEN_CHARS = 100
_LONG_TOKEN_STEP = 4


@dataclass(frozen=True)
class Chunk:
    """A passage before it belongs to a document: `text[start:end]` of the parsed text, and the headings above."""

    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True)
class _Section:
    """Blocks that follow each other under the same headings; `paragraphs` are offsets at which one begins."""

    start: int
    end: int
    headings: tuple[str, ...]
    paragraphs: tuple[int, ...]


def chunk(parsed: ParsedText, tokenize: Tokenize, *, max_tokens: int) -> list[Chunk]:
    """Passages of at most `max_tokens` tokens, in order.

    A passage never spans a heading. It ends at a paragraph's end where one is near, else a sentence's, else a word's,
    else between two tokens. Each character that is not white space is in one passage, headings excepted; a heading
    with nothing under it is a passage itself. What has no token at all is left out.
    """
    sections = list(_sections(parsed))
    tokens = tokenize([parsed.text[section.start : section.end] for section in sections])
    return [
        Chunk(section.start + start, section.start + end, section.headings)
        for section, spans in zip(sections, tokens, strict=True)
        for start, end in _cut(parsed.text[section.start : section.end], section, spans, max_tokens)
    ]


def _sections(parsed: ParsedText) -> Iterator[_Section]:
    blocks = parsed.blocks
    first = 0
    while first < len(blocks):
        block = blocks[first]
        after = first + 1
        if block.is_heading:
            is_leaf = after == len(blocks) or blocks[after].headings[: len(block.headings)] != block.headings
            if is_leaf:
                yield _Section(block.start, block.end, block.headings[:-1], ())
        else:
            while after < len(blocks) and not blocks[after].is_heading:
                after += 1
            paragraphs = tuple(other.start - block.start for other in blocks[first + 1 : after])
            yield _Section(block.start, blocks[after - 1].end, block.headings, paragraphs)
        first = after


def _cut(text: str, section: _Section, spans: Sequence[Span], max_tokens: int) -> Iterator[Span]:
    starts = _token_starts(spans)
    count = len(starts)
    ends: tuple[Sequence[int], ...] = ()
    if count > max_tokens:
        ends = (section.paragraphs, _ends(_SENTENCE_END, text), _ends(_WORD_END, text))
    first = 0
    while first < count:
        after = _end_of_passage(starts, first, ends, max_tokens)
        begin = starts[first] if first else 0
        end = starts[after] if after < count else len(text)
        yield _trimmed(text, begin, end)
        first = after


def _end_of_passage(starts: Sequence[int], first: int, ends: Sequence[Sequence[int]], max_tokens: int) -> int:
    """Index of the token before which the passage that begins at token `first` ends. Passages become about equally
    long."""
    left = len(starts) - first
    if left <= max_tokens:
        return len(starts)
    goal = first + -(-left // -(-left // max_tokens))
    lowest, highest = starts[first + max_tokens // 2], starts[first + max_tokens]
    for offsets in ends:
        near = offsets[bisect_right(offsets, lowest) : bisect_right(offsets, highest)]
        if near:
            return min((bisect_left(starts, offset) for offset in near), key=lambda index: abs(index - goal))
    return first + max_tokens


def _token_starts(spans: Sequence[Span]) -> list[int]:
    """Where tokens begin. A token of very many characters (a tokenizer's "unknown") counts as one every few
    characters."""
    starts: list[int] = []
    for start, end in spans:
        if end - start > _LONG_TOKEN_CHARS:
            starts.extend(range(start, end, _LONG_TOKEN_STEP))
        elif end > start:
            starts.append(start)
    return starts


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in pattern.finditer(text)]


def _trimmed(text: str, start: int, end: int) -> Span:
    """The span without the white space around it."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
