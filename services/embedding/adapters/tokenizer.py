"""Counts tokens with a Hugging Face tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

CHARACTERS_A_TOKEN = 8
"""A text with more for each token that the model reads is taken to fill the model's window, and not counted."""

AT_A_TIME = 32
"""Texts that are tokenized together: what a tokenizer makes of a text is a hundred times its size."""


class TokenizerError(Exception):
    """The tokenizer's file cannot be used; the message names it and the remedy."""


class TokenizerCounter:
    """TokenCounter by the tokenizer of the embedding model."""

    def __init__(self, file: Path) -> None:
        """Raises TokenizerError."""
        try:
            self._tokenizer = Tokenizer.from_str(file.read_text())
        except Exception as error:  # tokenizers raises nothing narrower
            raise TokenizerError(f"{file}: is no tokenizer.json of the embedding model ({error})") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    async def count(self, texts: Sequence[str], max_tokens: int) -> list[int]:
        """See the port. In a thread: a large request takes a tenth of a second."""
        counts: list[int] = []
        for start in range(0, len(texts), AT_A_TIME):
            counts += await asyncio.to_thread(self._count, texts[start : start + AT_A_TIME], max_tokens)
        return counts

    def _count(self, texts: Sequence[str], max_tokens: int) -> list[int]:
        counts = [max_tokens] * len(texts)
        short = [at for at, text in enumerate(texts) if len(text) <= CHARACTERS_A_TOKEN * max_tokens]
        encodings = self._tokenizer.encode_batch_fast([texts[at] for at in short])
        for at, encoding in zip(short, encodings, strict=True):
            counts[at] = min(len(encoding), max_tokens)
        return counts
