"""Citations and the not-found sentence in a text that arrives in pieces."""

from __future__ import annotations

import itertools
import random

import pytest

from services.rag.domain.answer_text import AnswerReader
from services.rag.domain.citations import AnswerPiece, CitationReader, neutralised, without_markers

Read = tuple[str, list[tuple[int, int, int]]]


def read(reader: CitationReader | AnswerReader, chunks: list[str]) -> Read:
    """The whole text, and each citation with its place in it; checks what holds for every piece."""
    pieces: list[AnswerPiece] = []
    for part in chunks:
        pieces.extend(reader.feed(part))
    pieces.extend(reader.finish())
    text, citations = "", []
    for piece in pieces:
        assert piece.text
        text += piece.text
        if piece.citation is not None:
            marker = f"[{piece.citation}]"
            assert piece.text.endswith(marker)
            citations.append((piece.citation, len(text) - len(marker), len(text)))
    assert [text[start:end] for _, start, end in citations] == [f"[{number}]" for number, _, _ in citations]
    return text, citations


EXAMPLES = {
    "Fast [1].": "Fast [1].",
    "Fast[1][2] and [3].": "Fast[1][2] and [3].",
    "Both [1, 2].": "Both [1][2].",
    "Both [1,9,3] x": "Both [1][3] x",
    "Made up [9].": "Made up.",
    "Made up [9] [1].": "Made up [1].",
    "Zero [0], huge [99999999].": "Zero, huge.",
    "A\n[7] B": "A\nB",
    "[9] Begins": "Begins",
    "  \n Begins [2] \n": "Begins [2]",
    "Not one: [a] [ 1 ] [1 2] [] [1": "Not one: [a] [ 1 ] [1 2] [] [1",
    "Code a[ 0 ] 🐍 ü [3]": "Code a[ 0 ] 🐍 ü [3]",
    "[[1]]": "[[1]]",
    "Tail [": "Tail [",
    "": "",
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_however_a_text_is_split_it_reads_the_same(text: str) -> None:
    """All splits in two and three, and into characters, give the same text and citations."""
    expected = EXAMPLES[text]
    whole = read(CitationReader(3), [text])
    assert whole[0] == expected
    for i, j in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        assert read(CitationReader(3), [text[:i], text[i:j], text[j:]]) == whole
    assert read(CitationReader(3), list(text)) == whole


def test_random_texts_read_the_same_however_they_are_split() -> None:
    """Texts of the characters that matter, cut anywhere."""
    random_ = random.Random(3)
    for _ in range(3000):
        text = "".join(random_.choices(["[", "]", "1", "2", "9", ",", " ", "\n", "x", "ü"], k=random_.randint(0, 25)))
        cuts = sorted(random_.choices(range(len(text) + 1), k=4))
        parts = [text[i:j] for i, j in itertools.pairwise([0, *cuts, len(text)])]
        whole = read(CitationReader(2), [text])
        assert read(CitationReader(2), parts) == whole
        assert all(number in (1, 2) for number, _, _ in whole[1])


def test_only_shown_passages_are_cited() -> None:
    """With nothing shown, no marker is left."""
    assert read(CitationReader(0), ["A [1] and [2]."]) == ("A and.", [])


@pytest.mark.parametrize(
    "text", ["Not found in the sources.", "  not found in the sources\n", "Not found in the sources. [1]", "", " \n"]
)
def test_the_not_found_sentence_is_no_answer(text: str) -> None:
    """The sentence, however it arrives, gives no text; neither does a model that writes nothing."""
    for size in (1, 3, 100):
        reader = AnswerReader(2)
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        assert read(reader, parts) == ("", [])
        assert reader.is_not_found


@pytest.mark.parametrize(
    "text", ["Not found in the sources of Python [1].", "Nothing [1].", "Not found in the sources. But here [1]: x"]
)
def test_what_only_begins_like_the_sentence_is_an_answer(text: str) -> None:
    """Text that was held back is given when it turns out to be an answer."""
    for size in (1, 3, 100):
        reader = AnswerReader(2)
        answer, citations = read(reader, [text[i : i + size] for i in range(0, len(text), size)])
        assert answer == text
        assert len(citations) == 1
        assert not reader.is_not_found


def test_an_answer_is_given_as_soon_as_it_is_one() -> None:
    """Only what may still be a marker or the sentence waits."""
    reader = AnswerReader(2)
    assert list(reader.feed("No")) == []
    assert [piece.text for piece in reader.feed("body knows")] == ["Nobody knows"]
    assert [piece.text for piece in reader.feed(" that [")] == [" that"]
    assert list(reader.feed("1")) == []
    assert list(reader.feed("]")) == [AnswerPiece(" [1]", 1)]


def test_numbers_in_passages_are_no_markers() -> None:
    """Bracketed numbers are spread so that no reader takes them for markers; text without them is not touched."""
    assert neutralised("a[0], [1, 2] and [x] [12]") == "a[ 0 ], [ 1, 2 ] and [x] [ 12 ]"
    assert read(CitationReader(20), [neutralised("see [1] and [2][3]")])[1] == []
    assert without_markers("It is [1]. So [2, 3].") == "It is. So."
