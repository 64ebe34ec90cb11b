"""Embedding in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from libs.errors.errors import InvalidArgumentError, UnavailableError
from services.embedding.app.embed_texts import EmbedTexts
from services.embedding.domain.embeddings import Embedding, EmbedModel, model_unavailable

MODEL = EmbedModel("embed", "1", "all-MiniLM", "fp32-1", max_tokens=16, batch_texts=4)


@dataclass
class Models:
    """Answers each text with itself; fails at the text "bad"; notes what was asked and how much at a time."""

    asked: list[list[str]] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0

    async def describe(self, name: str) -> EmbedModel:
        self.described.append(name)
        return MODEL

    async def embed(self, model: EmbedModel, texts: Sequence[str]) -> list[Embedding]:
        self.asked.append(list(texts))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.01)
            if "bad" in texts:
                raise model_unavailable("embed", "died")
            if "slow" in texts:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return [Embedding(text.encode(), len(text), len(text) > 16) for text in texts]


@dataclass
class Counter:
    """A character is a token."""

    asked: int = 0

    async def count(self, texts: Sequence[str], max_tokens: int) -> list[int]:
        self.asked += 1
        return [min(len(text), max_tokens) for text in texts]


def embedder(models: Models, counter: Counter) -> EmbedTexts:
    return EmbedTexts(models, counter, default_model="embed", batch_tokens=32, concurrency=3)


async def test_order_is_kept_over_batches() -> None:
    """However texts are batched, embeddings come in the order of the texts; all of them are bounded."""
    models = Models()
    texts = [str(at) * (at % 17 + 1) for at in range(60)]
    embedded = await embedder(models, Counter())(texts)
    assert [embedding.values.decode() for embedding in embedded.embeddings] == texts
    assert embedded.input_tokens == sum(map(len, texts))
    assert all(
        len(batch) <= 4 and max(min(len(text), 16) for text in batch) * len(batch) <= 32 for batch in models.asked
    )
    assert models.most_running == 3


async def test_few_texts_are_not_counted() -> None:
    """What fits into one call whatever its tokens goes out at once."""
    for texts in (["a"], ["a" * 1000], ["ab", "cd", "ef"]):
        models, counter = Models(), Counter()
        await embedder(models, counter)(texts)
        assert (models.asked, counter.asked) == ([texts], 0)


async def test_all_or_nothing() -> None:
    """The first failure ends the request and cancels what else is under way."""
    models = Models()
    with pytest.raises(BaseExceptionGroup) as caught:
        await embedder(models, Counter())(["bad", *["slow"] * 12])
    assert caught.group_contains(UnavailableError)
    assert models.running == 0
    assert models.cancelled >= 1


async def test_bad_texts_reach_no_model() -> None:
    """They are refused before anything is asked."""
    models = Models()
    with pytest.raises(InvalidArgumentError):
        await embedder(models, Counter())(["good", " "])
    assert (models.asked, models.described) == ([], [])


async def test_the_model_of_the_request() -> None:
    """The one that is named, else the service's own."""
    models = Models()
    await embedder(models, Counter())(["a"], "other")
    await embedder(models, Counter())(["a"])
    assert models.described == ["other", "embed"]
