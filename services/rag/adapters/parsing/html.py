"""Reads HTML.

From its tags, one after the other, and not from a tree: what a passage needs is text, headings and where blocks end,
and a tree of hostile HTML takes quadratic time (2 MiB of nested `<div>` are minutes in any parser that follows the
standard).
"""

from __future__ import annotations

import re
from html import unescape

from services.rag.domain.parsed_text import ParsedText, TextBuilder, paragraphs

# Every alternative matches whatever follows its beginning, to the end of the text if need be: nothing is read twice.
_TOKEN = re.compile(
    r"""
      <!--(?:-?>|.*?(?:--!?>|\Z))
    | <[!?][^>]*+(?:>|\Z)
    | </[^a-zA-Z][^>]*+(?:>|\Z)
    | <(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+)
       (?P<attributes>(?: =\s*+"[^"]*+(?:"|\Z) | =\s*+'[^']*+(?:'|\Z) | [^>] )*+) (?:>|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_HIDDEN = re.compile(r"""(?:^|\s)(?:hidden(?=[\s=/]|$)|role\s*=\s*["']?navigation\b)""", re.IGNORECASE)
_RAW_TEXT = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp")
}
_LEFT_OUT = frozenset({"nav", "template", "noscript", "object", "svg", "math", "canvas", "audio", "video"}) | {
    "button",
    "select",
    "datalist",
}
_CAN_HIDE = frozenset({"div", "section", "article", "aside", "header", "footer", "main", "span", "figure"}) | {
    "ul",
    "ol",
    "dl",
    "table",
    "form",
    "details",
}
_BLOCKS = _CAN_HIDE - {"span"} | {
    *("address", "blockquote", "body", "caption", "center", "dd", "dt", "fieldset", "figcaption", "hgroup", "hr"),
    *("html", "legend", "li", "p", "pre", "summary", "tbody", "tfoot", "thead", "tr"),
}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLANKS = re.compile(r"\s+")


def read_html(text: str) -> ParsedText:
    """h1 to h6 are structure; scripts, styles, navigation, forms' controls and what is hidden are left out."""
    reader = _Reader()
    at = 0
    while token := _TOKEN.search(text, at):
        reader.text(text[at : token.start()])
        at = token.end()
        name = (token["name"] or "").lower()
        if name in _RAW_TEXT and not token["end"]:
            close = _RAW_TEXT[name].search(text, at)
            at = close.start() if close else len(text)
        elif name:
            reader.tag(name, token["attributes"], is_start=not token["end"])
    reader.text(text[at:])
    return reader.finish()


def inline_text(text: str) -> str:
    """The text of a fragment of HTML, its blocks on lines of their own."""
    return "\n".join(line for line in read_html(text).text.split("\n") if line)


class _Reader:
    """Collects text; a block element's start and end each end the paragraph before."""

    def __init__(self) -> None:
        self._builder = TextBuilder()
        self._parts: list[str] = []
        self._heading_level = 0
        self._is_preformatted = False
        self._row_cells = 0
        self._left_out = ""
        self._left_out_depth = 0

    def text(self, text: str) -> None:
        """Text between two tags."""
        if text and not self._left_out:
            content = unescape(text)
            self._parts.append(content if self._is_preformatted else _BLANKS.sub(" ", content))

    def tag(self, name: str, attributes: str, *, is_start: bool) -> None:
        """An element begins or ends."""
        if self._left_out:
            if name == self._left_out:
                self._left_out_depth += 1 if is_start else -1
                self._left_out = name if self._left_out_depth else ""
        elif name == "br":
            self._parts.append("\n")
        elif name in _HEADINGS:
            self._end_paragraph()
            self._heading_level = _HEADINGS[name] if is_start else 0
        elif name in ("td", "th"):
            self._cell(is_start)
        elif name in _LEFT_OUT or (name in _CAN_HIDE and _HIDDEN.search(attributes)):
            self._leave_out(name, attributes, is_start)
        elif name in _BLOCKS:
            self._block(name, is_start)

    def finish(self) -> ParsedText:
        """All that was read."""
        self._end_paragraph()
        return self._builder.build()

    def _leave_out(self, name: str, attributes: str, is_start: bool) -> None:
        self._end_paragraph()
        if is_start and not attributes.endswith("/"):
            self._left_out, self._left_out_depth = name, 1

    def _block(self, name: str, is_start: bool) -> None:
        self._end_paragraph()
        self._row_cells = 0
        if name == "pre":
            self._is_preformatted = is_start
        elif name == "li" and is_start:
            self._parts.append("- ")

    def _cell(self, is_start: bool) -> None:
        if is_start:
            self._parts += (" | ",) if self._row_cells else ()
            self._row_cells += 1

    def _end_paragraph(self) -> None:
        text = "".join(self._parts)
        self._parts = []
        if self._is_preformatted:
            for part in paragraphs(text):
                self._builder.paragraph(part)
            return
        lines = [line for line in (" ".join(line.split()) for line in text.split("\n")) if line not in ("", "-")]
        if self._heading_level:
            self._builder.heading(self._heading_level, " ".join(lines))
        else:
            self._builder.paragraph("\n".join(lines))
