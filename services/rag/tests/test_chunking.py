"""Cutting documents into passages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from services.rag.adapters.parsing.parser import parse_content
from services.rag.domain.chunking import chunk
from services.rag.domain.documents import MediaType, Passage
from services.rag.domain.parsed_text import ParsedText
from services.rag.tests.fakes import FakeTokenizer

tokenize = FakeTokenizer().spans

_WORDS = [
    "Über",
    "naïve",
    "東京",
    "🐍",
    "can't",
    "a" * 300,
    "e\u0301",
    "x=1;",
    "-",
    "Ångström.",
    "no\u00a0break",
    "fin?",
]


def parsed(text: str, media_type: MediaType = MediaType.MARKDOWN) -> ParsedText:
    """The text, read."""
    return parse_content(text.encode(), media_type)


def random_markdown(random_: random.Random) -> str:
    """Headings, paragraphs, lists and code of random lengths."""
    blocks = []
    for _ in range(random_.randint(1, 30)):
        words = " ".join(random_.choices(_WORDS, k=random_.randint(1, 60)))
        kind = random_.choice(("# ", "## ", "### ", "", "", "- ", "```\n"))
        blocks.append(f"{kind}{words}" + ("\n```" if kind == "```\n" else ""))
    return "\n\n".join(blocks)


@pytest.mark.parametrize("seed", range(40))
def test_offsets_are_exact_and_nothing_is_lost(seed: int) -> None:
    """Passages are in order, do not overlap, are not too long, and have every character that is no heading or space."""
    text = parsed(random_markdown(random.Random(seed)))
    chunks = chunk(text, tokenize, max_tokens=20)
    covered = [False] * len(text.text)
    last = 0
    for piece in chunks:
        assert last <= piece.start < piece.end
        last = piece.end
        passage = text.text[piece.start : piece.end]
        assert passage == passage.strip()
        covered[piece.start : piece.end] = [True] * (piece.end - piece.start)
        long_tokens = sum(len(span) > 100 for span in passage.split())
        assert len(tokenize([passage])[0]) <= 20 + long_tokens
    for block in text.blocks:
        if block.is_heading:
            covered[block.start : block.end] = [True] * (block.end - block.start)
    lost = [char for char, has in zip(text.text, covered, strict=True) if not has and not char.isspace()]
    assert lost == []


def test_passages_keep_the_path_of_their_headings() -> None:
    """A passage has the headings above it, outermost first, and never spans one."""
    text = parsed("intro\n\n# A\n\none\n\ntwo\n\n## B\n\nthree\n\n# C\n\n### D\n\nfour")
    found = [(piece.headings, text.text[piece.start : piece.end]) for piece in chunk(text, tokenize, max_tokens=50)]
    assert found == [
        ((), "intro"),
        (("A",), "one\n\ntwo"),
        (("A", "B"), "three"),
        (("C", "D"), "four"),
    ]


def test_a_heading_with_nothing_under_it_is_a_passage() -> None:
    """A document of headings alone can be found."""
    text = parsed("# A\n\n## B\n\n## C")
    found = [(piece.headings, text.text[piece.start : piece.end]) for piece in chunk(text, tokenize, max_tokens=50)]
    assert found == [(("A",), "B"), (("A",), "C")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three four\n\nfive six seven. eight", ["one two three four", "five six seven. eight"]),
        ("one two three. four five six seven", ["one two three.", "four five six seven"]),
        ("one two three four five six seven eight", ["one two three four", "five six seven eight"]),
    ],
    ids=["paragraph", "sentence", "word"],
)
def test_long_sections_are_cut_where_it_reads_best(text: str, expected: list[str]) -> None:
    """A paragraph's end comes before a sentence's, and that before a word's."""
    whole = parsed(text, MediaType.PLAIN)
    pieces = chunk(whole, tokenize, max_tokens=5)
    assert [whole.text[piece.start : piece.end] for piece in pieces] == expected


def test_one_endless_word_is_cut() -> None:
    """A word that the tokenizer takes for one token does not become one passage."""
    text = parsed("a" * 10_000, MediaType.PLAIN)
    pieces = chunk(text, lambda texts: [[(0, len(text))] for text in texts], max_tokens=200)
    assert max(piece.end - piece.start for piece in pieces) <= 800
    assert "".join(text.text[piece.start : piece.end] for piece in pieces) == text.text


def test_text_without_tokens_is_no_passage() -> None:
    """What the tokenizer has no token for is left out."""
    text = parsed("\u200b\u200b", MediaType.PLAIN)
    assert chunk(text, lambda texts: [[] for _ in texts], max_tokens=5) == []


def test_real_tokens_fit_the_window(tokenizer_file: Path) -> None:
    """With the embedding model's own tokenizer no passage has more tokens than asked for, words cut in two excepted."""
    from services.rag.adapters.tokenizer import FileTokenizer

    tokenizer = FileTokenizer(tokenizer_file)
    random_ = random.Random(7)
    for _ in range(5):
        text = parsed(random_markdown(random_))
        for piece in chunk(text, tokenizer.spans, max_tokens=40):
            passage = text.text[piece.start : piece.end]
            assert tokenizer.count(passage) <= 40 + (100 if "aaa" in passage else 0)


def test_embedded_text_has_the_path_once_and_not_too_long() -> None:
    """Title and headings stand before the text; a title that is a heading, or only the document's id, is not said."""

    def embedded(title: str, *headings: str) -> str:
        return Passage("id", "v", 0, title, "", headings, "text", 0, 4).embedded_text

    assert embedded("T", "A", "B") == "T > A > B\ntext"
    assert embedded("A", "A", "B") == "A > B\ntext"
    assert embedded("id") == "text"
    assert len(embedded("T" * 500)) == 125
