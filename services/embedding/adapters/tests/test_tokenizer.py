"""Counting tokens with the model's own tokenizer."""

from pathlib import Path

import pytest

from libs.parts.triton import TritonRuntime
from services.embedding.adapters.tokenizer import TokenizerCounter, TokenizerError


async def test_counts_are_the_models(triton_runtime: TritonRuntime) -> None:
    """Markers included, cut at the window; a text far above it counts as the window."""
    counter = TokenizerCounter(triton_runtime.repository / "embed/1/tokenizer.json")
    texts = ["cat", "a cat sleeps", "word " * 300, "x" * 10_000, "ж" * 300]
    assert await counter.count(texts, 256) == [3, 5, 256, 256, 3]
    assert await counter.count(["cat"] * 100, 256) == [3] * 100
    assert await counter.count([], 256) == []


@pytest.mark.parametrize("content", [None, "", "{}", "\x00"])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str | None) -> None:
    """The error names the file."""
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        TokenizerCounter(file)
