"""A document's text as it was read, and the structure in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEADING_CHARS = 200
"""A heading is kept with each of its passages: one that is longer is taken for a paragraph."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LONG_RUN = re.compile(r"[^\S\n]{65,}")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


@dataclass(frozen=True)
class Block:
    """A heading or a paragraph: where it stands in the text, and the headings above it, outermost first (a heading's
    own last)."""

    start: int
    end: int
    headings: tuple[str, ...]
    is_heading: bool


@dataclass(frozen=True)
class ParsedText:
    """What was read: the text, and its blocks in order, one empty line between each two."""

    text: str
    blocks: tuple[Block, ...]

    @property
    def first_heading(self) -> str:
        """The first heading, empty where there is none."""
        return next((self.text[block.start : block.end] for block in self.blocks if block.is_heading), "")


class TextBuilder:
    """Puts a text together from the blocks that a reader of some format finds."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._path: list[tuple[int, str]] = []

    def heading(self, level: int, text: str) -> None:
        """Adds a heading; it ends what stood under headings of its level and below."""
        line = " ".join(text.split())
        if len(line) > MAX_HEADING_CHARS:
            self.paragraph(line)
        elif line:
            while self._path and self._path[-1][0] >= level:
                self._path.pop()
            self._path.append((level, line))
            self._add(line, is_heading=True)

    def paragraph(self, text: str) -> None:
        """Adds a block of text under the last heading; one that is only white space is nothing."""
        trimmed = text.strip("\n").rstrip()
        if trimmed.strip():
            self._add(trimmed, is_heading=False)

    def build(self) -> ParsedText:
        """The text and structure of what was added."""
        return ParsedText("".join(self._parts), tuple(self._blocks))

    def _add(self, text: str, *, is_heading: bool) -> None:
        gap = "\n\n" if self._parts else ""
        start = self._length + len(gap)
        self._parts += (gap, text)
        self._length = start + len(text)
        self._blocks.append(Block(start, self._length, tuple(line for _, line in self._path), is_heading))


def clean(text: str) -> str:
    """`text` with newlines as "\\n", without control characters and byte order mark, and without very long runs of
    blanks."""
    unified = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n\n")
    return _LONG_RUN.sub(" " * 64, _CONTROL.sub("", unified))


def paragraphs(text: str) -> Sequence[str]:
    """The parts of `text` between empty lines."""
    return _BLANK_LINES.split(text)
