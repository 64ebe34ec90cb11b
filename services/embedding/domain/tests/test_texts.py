"""Which texts may be embedded, and which go together."""

import pytest

from libs.errors.errors import InvalidArgumentError
from services.embedding.domain.texts import MAX_CHARACTERS, batches, check_texts, most_tokens


def fields_of(texts: list[str]) -> list[str]:
    """The fields that are refused."""
    with pytest.raises(InvalidArgumentError) as caught:
        check_texts(texts)
    return [violation.field for violation in caught.value.violations]


def test_white_space_is_no_text() -> None:
    """Every text of white space only is named, in any alphabet's white space; the list of names is bounded."""
    assert fields_of(["a", " ", "b", "\u3000\n", ""]) == ["texts[1]", "texts[3]", "texts[4]"]
    assert len(fields_of([" "] * 100)) == 20


def test_all_characters_together_are_bounded() -> None:
    """The bound itself is allowed, one more is not."""
    check_texts(["x" * (MAX_CHARACTERS - 1), "y"])
    assert fields_of(["x" * MAX_CHARACTERS, "y"]) == ["texts"]


def test_batches_pad_little_and_are_bounded() -> None:
    """Shortest first; no batch is larger than it may be, in texts or in padded tokens."""
    counts = [50, 3, 3, 100, 40, 3, 99, 4]
    found = list(batches(counts, batch_tokens=100, batch_texts=3))
    assert found == [[1, 2, 5], [7, 4], [0], [6], [3]]
    for batch in found:
        assert len(batch) <= 3
        assert max(counts[at] for at in batch) * len(batch) <= 100


def test_every_text_is_in_one_batch() -> None:
    """Also those that are longer than a batch may be, which go alone."""
    counts = [at * 7919 % 300 + 1 for at in range(500)]
    found = list(batches(counts, batch_tokens=256, batch_texts=64))
    assert sorted(at for batch in found for at in batch) == list(range(500))
    assert all(len(batch) == 1 for batch in found if max(counts[at] for at in batch) > 256)


def test_no_texts_are_no_batches() -> None:
    """Nothing is not a batch."""
    assert list(batches([], batch_tokens=10, batch_texts=10)) == []


@pytest.mark.parametrize(("text", "tokens"), [("abc", 5), ("漢", 5), ("x" * 1000, 256)])
def test_a_bound_without_counting(text: str, tokens: int) -> None:
    """Bytes and the two markers, or the model's window."""
    assert most_tokens(text, 256) == tokens
