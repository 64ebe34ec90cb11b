"""Embedding in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from libs.errors.errors import InvalidArgumentError, Reason, ResourceExhaustedError, UnavailableError
from libs.testing.eventually import eventually
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
        return replace(MODEL, name=name)

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


@dataclass
class Work:
    """One execution, as a ledger sees it."""

    allowance_tokens: int | None
    told: list[int] = field(default_factory=list)
    ended: bool = False

    def used(self, *, input_tokens: int, output_tokens: int) -> None:
        assert not (self.ended or output_tokens)
        self.told.append(input_tokens)


@dataclass
class Book:
    """The executions of one call, by the model of each."""

    allowance_tokens: int | None = None
    executions: list[tuple[str, Work]] = field(default_factory=list)

    @asynccontextmanager
    async def executing(self, model: str) -> AsyncIterator[Work]:
        work = Work(self.allowance_tokens)
        self.executions.append((model, work))
        try:
            yield work
        finally:
            work.ended = True

    @property
    def only(self) -> Work:
        """The one that there is, which has ended."""
        ((model, work),) = self.executions
        assert (model, work.ended) == ("embed", True)
        return work


def embedder(models: Models, counter: Counter, book: Book | None = None) -> EmbedTexts:
    """Three batches at a time, of up to 32 tokens."""
    executing = (book or Book()).executing
    return EmbedTexts(models, counter, executing, default_model="embed", batch_tokens=32, concurrency=3)


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
    models, book = Models(), Book()
    await embedder(models, Counter(), book)(["a"], "other")
    await embedder(models, Counter(), book)(["a"])
    assert models.described == ["other", "embed"]
    assert [model for model, _ in book.executions] == ["other", "embed"]


async def test_a_request_is_one_execution() -> None:
    """What it used grows with each batch that comes back, up to what the answer says."""
    book = Book()
    embedded = await embedder(Models(), Counter(), book)(["seven c"] * 30)
    told = book.only.told
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == embedded.input_tokens == 210


async def test_a_failure_is_charged_for_what_was_done() -> None:
    """The batches that came back count, those that did not do not."""
    book = Book()
    with pytest.raises(BaseExceptionGroup):
        await embedder(Models(), Counter(), book)([*["a"] * 12, "bad"])
    assert book.only.told == [4, 8, 12]


async def test_a_cancel_is_charged_for_what_was_done() -> None:
    """Who leaves pays the batches that came back, and the cancel goes on."""
    models, book = Models(), Book()
    task = asyncio.create_task(embedder(models, Counter(), book)([*["a"] * 4, *["slow"] * 40]))
    await eventually(lambda: book.executions and book.executions[0][1].told)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert book.only.told == [4]
    assert models.running == 0


@pytest.mark.parametrize(("texts", "tokens"), [(["a cat"], 5), (["ж"] * 5, 5), (["abc"] * 20, 60), (["x" * 99], 16)])
async def test_an_allowance_holds_to_the_token(texts: list[str], tokens: int) -> None:
    """As many as the texts have are enough, however many their bytes are; one fewer is refused before a model is
    asked."""
    models, book = Models(), Book(tokens)
    assert (await embedder(models, Counter(), book)(texts)).input_tokens >= tokens
    models, book = Models(), Book(tokens - 1)
    with pytest.raises(ResourceExhaustedError) as caught:
        await embedder(models, Counter(), book)(texts)
    assert (caught.value.reason, caught.value.metadata) == (Reason.BUDGET_EXHAUSTED, {"budget": "call"})
    assert (models.asked, book.only.told) == ([], [])


async def test_what_is_allowed_whatever_its_tokens_is_not_counted() -> None:
    """A byte is a token at most, and two mark the ends."""
    models, counter = Models(), Counter()
    await embedder(models, counter, Book(2 * (3 + 2)))(["abc", "def"])
    assert counter.asked == 0
    await embedder(models, counter, Book(2 * (3 + 2) - 1))(["abc", "def"])
    assert counter.asked == 1
