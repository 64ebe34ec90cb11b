"""Reads plain text."""

from __future__ import annotations

from services.rag.domain.parsed_text import ParsedText, TextBuilder, paragraphs


def read_plain(text: str) -> ParsedText:
    """Paragraphs are separated by empty lines; there are no headings."""
    builder = TextBuilder()
    for paragraph in paragraphs(text):
        builder.paragraph(paragraph)
    return builder.build()
