"""Answers a question from a collection, with citations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

from services.rag.app.search_passages import Found, SearchPassages
from services.rag.domain.answer_text import AnswerReader
from services.rag.domain.citations import AnswerPiece
from services.rag.domain.documents import Hit, Passage
from services.rag.domain.evidence import Thresholds, coverage, is_answerable, weigh
from services.rag.domain.prompt import Prompt, Role, Turn, build_prompt
from services.rag.domain.ranking import fuse
from services.rag.ports import GenerationEnd, Terms, TextGenerator, Tokenizer

_EVIDENCE_DEPTH = 5
"""So many of the best passages tell whether a question can be answered, however many are to be shown."""


@dataclass(frozen=True)
class Question:
    """What to answer, from what, and how. An empty model is the inference service's own."""

    collection: str
    text: str
    history: tuple[Turn, ...]
    top_k: int
    max_output_tokens: int
    model: str


class Outcome(Enum):
    """How an answer ended."""

    ANSWERED = "answered"
    NOT_FOUND = "not found"
    LENGTH = "length"


@dataclass(frozen=True)
class Shown:
    """What the model is shown; first of all events."""

    hits: tuple[Hit, ...]
    lexical_only: bool


@dataclass(frozen=True)
class Delta:
    """More text, never empty."""

    text: str


@dataclass(frozen=True)
class Cited:
    """The marker that ends the last delta cites a passage; offsets are code points of the answer's text."""

    number: int
    start: int
    end: int
    passage: Passage


@dataclass(frozen=True)
class Used:
    """What the answer cost; once, before the end, or before an error."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Ended:
    """How it ended; last of all events of an answer that did not fail. `model` is empty where none was asked."""

    outcome: Outcome
    model: str


AnswerEvent = Shown | Delta | Cited | Used | Ended


@dataclass(frozen=True)
class AnswerLimits:
    """How much a model takes, and what is enough evidence to ask it."""

    window_tokens: int
    thresholds: Thresholds
    context_chars: int = 1000
    """Of the questions before, so much is searched for together with the question."""


class AnswerQuestion:
    """Searches, and lets the model answer from what was found where that can answer the question at all."""

    def __init__(
        self,
        search: SearchPassages,
        generator: TextGenerator,
        tokenizer: Tokenizer,
        terms: Terms,
        limits: AnswerLimits,
    ) -> None:
        self._search = search
        self._generator = generator
        self._tokenizer = tokenizer
        self._terms = terms
        self._limits = limits

    async def __call__(self, tenant: str, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """The answer's events. Closing the iterator stops the model. Raises as the search and the generator do."""
        found = await self._found(tenant, question)
        embedded_tokens = sum(each.input_tokens for each in found)
        lexical_only = found[0].lexical_only
        hits = self._answering(question, found)
        if not hits:
            yield Shown((), lexical_only)
            yield Used(embedded_tokens, 0)
            yield Ended(Outcome.NOT_FOUND, "")
            return
        prompt = self._prompt(question, hits)
        shown = hits[: prompt.shown]
        yield Shown(tuple(shown), lexical_only)
        async with aclosing(self._written(prompt, question, shown, embedded_tokens)) as events:
            async for event in events:
                yield event

    async def _found(self, tenant: str, question: Question) -> list[Found]:
        """For the question, and where there was talk before, for the question in its context."""
        queries = [question.text]
        before = [turn.content for turn in question.history if turn.role is Role.USER][-2:]
        if before:
            context = "\n".join(before)[-self._limits.context_chars :]
            queries.append(f"{context}\n{question.text}")
        return await self._search.each(tenant, question.collection, queries, max(question.top_k, _EVIDENCE_DEPTH))

    def _answering(self, question: Question, found: Sequence[Found]) -> list[Hit]:
        """The passages to answer from, best first; none where they do not answer the question.

        Words of earlier questions find passages by themselves: what was found with them counts only where it has words
        of this question too.
        """
        alone, *in_context = found
        words = self._terms(question.text)
        thresholds = self._limits.thresholds
        hits: list[Hit] = []
        if self._is_enough(words, alone.hits):
            hits = list(alone.hits)
        for context in in_context:
            own_words = coverage(words, self._words_of(context.hits[:_EVIDENCE_DEPTH]))
            if self._is_enough(words, context.hits) and own_words >= thresholds.coverage:
                hits = fuse([context.hits, hits])
        return hits[: question.top_k]

    def _is_enough(self, words: frozenset[int], hits: Sequence[Hit]) -> bool:
        best = hits[:_EVIDENCE_DEPTH]
        evidence = weigh(words, self._words_of(best), [hit.similarity for hit in best])
        return bool(hits) and is_answerable(evidence, self._limits.thresholds)

    def _words_of(self, hits: Iterable[Hit]) -> list[frozenset[int]]:
        return [self._terms(hit.passage.embedded_text) for hit in hits]

    def _prompt(self, question: Question, hits: Sequence[Hit]) -> Prompt:
        return build_prompt(
            question.text,
            question.history,
            [hit.passage for hit in hits],
            count_tokens=self._tokenizer.count,
            window_tokens=self._limits.window_tokens - question.max_output_tokens,
        )

    async def _written(
        self, prompt: Prompt, question: Question, shown: Sequence[Hit], embedded_tokens: int
    ) -> AsyncGenerator[AnswerEvent, None]:
        """What the model writes, as events, the usage before the end whatever that is."""
        reader = AnswerReader(len(shown))
        marker = _Places(shown)
        input_tokens, output_tokens = embedded_tokens, 0
        end: GenerationEnd | None = None
        stream = self._generator.stream(
            prompt.turns, model=question.model, max_output_tokens=question.max_output_tokens
        )
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    input_tokens += event.input_tokens
                    output_tokens += event.output_tokens
                    end = event.end or end
                    for piece in reader.feed(event.text):
                        for answer in marker.events(piece):
                            yield answer
        except Exception:
            yield Used(input_tokens, output_tokens)
            raise
        for piece in reader.finish():
            for answer in marker.events(piece):
                yield answer
        yield Used(input_tokens, output_tokens)
        assert end is not None
        cut = Outcome.LENGTH if end.cut else Outcome.ANSWERED
        yield Ended(Outcome.NOT_FOUND if reader.is_not_found else cut, end.model)


class _Places:
    """Keeps count of where in the answer's text the pieces stand."""

    def __init__(self, shown: Sequence[Hit]) -> None:
        self._shown = shown
        self._length = 0

    def events(self, piece: AnswerPiece) -> Iterator[AnswerEvent]:
        """The piece's text, and its citation."""
        self._length += len(piece.text)
        yield Delta(piece.text)
        if piece.citation is not None:
            start = self._length - len(f"[{piece.citation}]")
            yield Cited(piece.citation, start, self._length, self._shown[piece.citation - 1].passage)
