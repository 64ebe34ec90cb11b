"""Reads content of every media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.rag.adapters.parsing.html import read_html
from services.rag.adapters.parsing.markdown import read_markdown
from services.rag.adapters.parsing.plain import read_plain
from services.rag.domain.documents import MediaType
from services.rag.domain.failures import unreadable
from services.rag.domain.parsed_text import ParsedText, clean

_READERS: Mapping[MediaType, Callable[[str], ParsedText]] = {
    MediaType.PLAIN: read_plain,
    MediaType.MARKDOWN: read_markdown,
    MediaType.HTML: read_html,
}


def parse_content(data: bytes, media_type: MediaType) -> ParsedText:
    """The port DocumentParser."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise unreadable(media_type.value, f"byte {error.start} is not UTF-8; convert the content to UTF-8") from None
    parsed = _READERS[media_type](clean(text))
    if not parsed.text.strip():
        raise unreadable(media_type.value, f"has no text when read as {media_type.value}; check the media type")
    return parsed
