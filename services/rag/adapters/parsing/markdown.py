"""Reads Markdown (CommonMark, and tables)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.rag.adapters.parsing.html import inline_text
from services.rag.domain.parsed_text import ParsedText, TextBuilder

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table").disable("inline")
_MAX_INLINE_CHARS = 10_000
"""A longer paragraph is taken as it stands: looking for marks in it takes time that grows with its square."""
_BREAKS = {"softbreak": "\n", "hardbreak": "\n"}
_VERBATIM = {"text", "code_inline"}


def read_markdown(text: str) -> ParsedText:
    """Headings are structure; marks of emphasis, links' addresses and front matter are left out, code stays as it
    is."""
    links: dict[str, Any] = {}
    tokens = _MARKDOWN.parse(_FRONT_MATTER.sub("", text), links)
    reader = _Reader(links)
    for token in tokens:
        reader.read(token)
    return reader.finish()


class _Reader:
    """Follows the flat list of tokens; a list or table is one block."""

    def __init__(self, links: dict[str, Any]) -> None:
        self._links = links
        self._builder = TextBuilder()
        self._heading_level = 0
        self._lists: list[int] = []
        self._lines: list[str] = []
        self._bullet = ""
        self._cells: list[str] | None = None

    def read(self, token: Token) -> None:
        """One more token."""
        kind = token.type
        if kind == "inline":
            self._text(self._inline(token.content))
        elif kind in ("fence", "code_block"):
            self._text(token.content.rstrip("\n"))
        elif kind == "html_block":
            self._text(inline_text(token.content))
        elif kind == "heading_open":
            self._heading_level = int(token.tag[1])
        elif kind == "heading_close":
            self._heading_level = 0
        elif kind in ("bullet_list_open", "ordered_list_open"):
            self._lists.append(int(token.attrGet("start") or 1) if kind == "ordered_list_open" else -1)
        elif kind == "list_item_open":
            self._begin_item()
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self._lists.pop()
            self._end_block()
        elif kind == "tr_open":
            self._cells = []
        elif kind == "tr_close":
            self._lines.append(" | ".join(self._cells or ()))
            self._cells = None
        elif kind == "table_close":
            self._end_block()

    def finish(self) -> ParsedText:
        """All that was read."""
        self._end_block()
        return self._builder.build()

    def _begin_item(self) -> None:
        number = self._lists[-1]
        if number >= 0:
            self._lists[-1] += 1
        self._bullet = f"{number}. " if number >= 0 else "- "

    def _text(self, text: str) -> None:
        if self._cells is not None:
            self._cells.append(text)
        elif self._lists:
            indent = "  " * (len(self._lists) - 1)
            self._lines.append(f"{indent}{self._bullet or '  '}{text}")
            self._bullet = ""
        elif self._heading_level:
            self._builder.heading(self._heading_level, text)
        else:
            self._builder.paragraph(text)

    def _inline(self, content: str) -> str:
        if len(content) > _MAX_INLINE_CHARS:
            return content
        children: list[Token] = []
        _MARKDOWN.inline.parse(content, _MARKDOWN, self._links, children)
        return _text_of(children)

    def _end_block(self) -> None:
        """Ends a list or table that is in no other list."""
        if not self._lists and self._lines:
            self._builder.paragraph("\n".join(self._lines))
            self._lines = []


def _text_of(children: Sequence[Token]) -> str:
    parts = []
    for child in children:
        if child.type in _VERBATIM:
            parts.append(child.content)
        elif child.type == "image":
            parts.append(_text_of(child.children or ()))
        else:
            parts.append(_BREAKS.get(child.type, ""))
    return "".join(parts)
