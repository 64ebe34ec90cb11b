"""Reading content."""

from __future__ import annotations

import pytest

from libs.errors.errors import InvalidArgumentError, Reason
from services.rag.adapters.parsing.parser import parse_content
from services.rag.domain.documents import MediaType
from services.rag.domain.parsed_text import ParsedText


def structure(parsed: ParsedText) -> list[tuple[str, ...]]:
    """Headings as ("#", text), paragraphs as (headings..., text)."""
    return [
        ("#", parsed.text[block.start : block.end])
        if block.is_heading
        else (*block.headings, parsed.text[block.start : block.end])
        for block in parsed.blocks
    ]


def test_plain_text_has_paragraphs() -> None:
    """Empty lines separate; newlines of any system, a byte order mark and control characters do no harm."""
    parsed = parse_content("\ufeffone\r\ntwo\r\n \r\nthree\x00\x0cfour".encode(), MediaType.PLAIN)
    assert structure(parsed) == [("one\ntwo",), ("three",), ("four",)]
    assert parsed.text == "one\ntwo\n\nthree\n\nfour"


def test_markdown_has_structure() -> None:
    """Headings of both kinds, lists, code, tables, quotes and HTML are read; front matter and marks are not."""
    source = """---
title: no
---
Top *level*
===========

A [link](http://x) and `co*de*` <b>bold</b>
goes on

1. one
2. two
   - inner

```py
# no heading

x = 1
```

## Next & last ##

| a | b |
|---|---|
| 1 | 2 |

> quoted

<div>block <i>html</i></div>
"""
    assert structure(parse_content(source.encode(), MediaType.MARKDOWN)) == [
        ("#", "Top level"),
        ("Top level", "A link and co*de* bold\ngoes on"),
        ("Top level", "1. one\n2. two\n  - inner"),
        ("Top level", "# no heading\n\nx = 1"),
        ("#", "Next & last"),
        ("Top level", "Next & last", "a | b\n1 | 2"),
        ("Top level", "Next & last", "quoted"),
        ("Top level", "Next & last", "block html"),
    ]


def test_html_has_structure() -> None:
    """h1 to h6 are headings; scripts, styles, navigation, comments and what is hidden are left out."""
    source = """<!doctype html><html><head><title>No</title><style>p{}</style></head><body>
    <nav>Home <nav>inner</nav> more</nav><div role="navigation">Menu</div><div hidden>secret</div>
    <h1 class="a>b">One &amp; <em>only</em></h1>loose text<p>a<br>b   c</p>
    <script>if (a < b) "</p>"</script><!-- <p>no</p> -->
    <h3>Deep</h3><ul><li>x<li>y &lt;z&gt;</ul><pre>def f():
    return 1</pre><table><tr><th>k<td>v</tr></table><SVG><text>no</text></SVG>1 < 2</body></html>"""
    assert structure(parse_content(source.encode(), MediaType.HTML)) == [
        ("#", "One & only"),
        ("One & only", "loose text"),
        ("One & only", "a\nb c"),
        ("#", "Deep"),
        ("One & only", "Deep", "- x"),
        ("One & only", "Deep", "- y <z>"),
        ("One & only", "Deep", "def f():\n    return 1"),
        ("One & only", "Deep", "k | v"),
        ("One & only", "Deep", "1 < 2"),
    ]


def test_the_first_heading_is_known() -> None:
    """It is the title of a document that was given none; a heading that is too long for one is a paragraph."""
    assert parse_content(b"x\n\n## A\n\n# B", MediaType.MARKDOWN).first_heading == "A"
    assert parse_content(b"# " + b"long " * 50, MediaType.MARKDOWN).first_heading == ""


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\xff\xfe\x00", MediaType.PLAIN),
        (b" \n\t\r\n", MediaType.PLAIN),
        (b"\x00\x01", MediaType.PLAIN),
        (b"[a]: http://x", MediaType.MARKDOWN),
        (b"<script>text</script>", MediaType.HTML),
        (b"<p></p>", MediaType.HTML),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, media_type: MediaType) -> None:
    """Bytes that are not UTF-8 and content without text name the media type."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse_content(data, media_type)
    assert caught.value.reason is Reason.DOCUMENT_UNREADABLE
    assert caught.value.metadata == {"media_type": media_type.value}


HOSTILE = {
    "nested": (b"<div>a", MediaType.HTML),
    "unclosed quotes": (b'<a href="', MediaType.HTML),
    "unclosed comments": (b"<!--", MediaType.HTML),
    "unclosed scripts": (b"<script>", MediaType.HTML),
    "angles": (b"<", MediaType.HTML),
    "entities": (b"&ampx;", MediaType.HTML),
    "quotes": (b"> ", MediaType.MARKDOWN),
    "brackets": (b"[", MediaType.MARKDOWN),
    "emphasis": (b"*a **b ", MediaType.MARKDOWN),
    "backticks": (b"``a", MediaType.MARKDOWN),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_read_in_time(name: str) -> None:
    """Half a MiB of what makes careless readers take hours is read or refused."""
    piece, media_type = HOSTILE[name]
    try:
        parsed = parse_content(piece * ((1 << 19) // len(piece)), media_type)
    except InvalidArgumentError as error:
        assert error.reason is Reason.DOCUMENT_UNREADABLE
    else:
        assert parsed.text
