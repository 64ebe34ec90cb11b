"""Answers a question from a collection, with citations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

from libs.errors.errors import ServiceError
from services.rag.app.degraded import MODEL, degraded
from services.rag.app.search_passages import Found, SearchPassages
from services.rag.domain import failures
from services.rag.domain.answer_text import AnswerReader
from services.rag.domain.citations import AnswerPiece
from services.rag.domain.documents import Hit, Passage
from services.rag.domain.evidence import Thresholds, coverage, is_answerable, weigh
from services.rag.domain.prompt import Prompt, Role, Turn, build_prompt
from services.rag.domain.ranking import fuse
from services.rag.ports import Finish, Generated, GenerationEnd, Terms, TextGenerator, Tokenizer

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
    BUDGET = "budget"
    PASSAGES_ONLY = "passages only"


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
    """How it ended; last of all events of an answer that did not fail.

    `model` is empty where none wrote; `fallback_for` where it was itself asked. `generation`: the collection's, where
    the answer may be kept as long as that and the models' versions are what they were; None: it must not be kept.
    """

    outcome: Outcome
    model: str = ""
    fallback_for: str = ""
    generation: int | None = None


_OUTCOMES = {Finish.WHOLE: Outcome.ANSWERED, Finish.LENGTH: Outcome.LENGTH, Finish.BUDGET: Outcome.BUDGET}

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
        """The answer's events. Closing the iterator stops the model. Raises as the search and the generator do, but
        where no model can write right now, or words alone do not tell whether there is an answer, the passages are it.
        """
        found = await self._found(tenant, question)
        embedded_tokens = sum(each.input_tokens for each in found)
        lexical_only = found[0].lexical_only
        generation = found[0].generation if found[0].may_be_kept else None
        hits = self._answering(question, found)
        if not hits:
            # Words alone do not tell that nothing there is an answer: whoever asks may judge the passages.
            doubtful = tuple(found[0].hits[: question.top_k]) if lexical_only else ()
            yield Shown(doubtful, lexical_only)
            yield Used(embedded_tokens, 0)
            yield Ended(Outcome.PASSAGES_ONLY if doubtful else Outcome.NOT_FOUND, generation=generation)
            return
        prompt = self._prompt(question, hits)
        shown = hits[: prompt.shown]
        yield Shown(tuple(shown), lexical_only)
        written = _Written(shown, embedded_tokens)
        async with aclosing(self._writing(prompt, question, written)) as events:
            async for event in events:
                yield event
        yield Used(written.input_tokens, written.output_tokens)
        yield written.ended(generation)

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

    async def _writing(
        self, prompt: Prompt, question: Question, written: _Written
    ) -> AsyncGenerator[AnswerEvent, None]:
        """What the model writes, as events. Where no model can write, none.

        A failure after text has come is raised, after what the answer cost.
        """
        stream = self._generator.stream(
            prompt.turns, model=question.model, max_output_tokens=question.max_output_tokens
        )
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    for answer in written.add(event):
                        yield answer
        except Exception as error:
            if isinstance(error, ServiceError) and failures.is_for_now(error) and not written.has_text:
                degraded(MODEL, error.reason.value)
                return
            yield Used(written.input_tokens, written.output_tokens)
            raise
        for answer in written.finish():
            yield answer


class _Written:
    """What the model has written so far, what that cost, and how it ended."""

    def __init__(self, shown: Sequence[Hit], input_tokens: int) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = 0
        self.has_text = False
        self._end: GenerationEnd | None = None
        self._reader = AnswerReader(len(shown))
        self._places = _Places(shown)

    def add(self, event: Generated) -> Iterator[AnswerEvent]:
        """What is certain by now of the answer."""
        self.input_tokens += event.input_tokens
        self.output_tokens += event.output_tokens
        self._end = event.end or self._end
        self.has_text = self.has_text or bool(event.text)
        for piece in self._reader.feed(event.text):
            yield from self._places.events(piece)

    def finish(self) -> Iterator[AnswerEvent]:
        """The rest of it, after the generation's end."""
        assert self._end is not None
        for piece in self._reader.finish():
            yield from self._places.events(piece)

    def ended(self, generation: int | None) -> Ended:
        """How the answer ended, from what was found in this generation; None: it is not to be kept anyway."""
        end = self._end
        if end is None:
            return Ended(Outcome.PASSAGES_ONLY)
        outcome = _OUTCOMES[end.finish]
        if outcome is not Outcome.BUDGET and self._reader.is_not_found:
            outcome = Outcome.NOT_FOUND
        if outcome is Outcome.BUDGET or end.fallback_for or not end.is_stamped:
            generation = None
        return Ended(outcome, end.model, end.fallback_for, generation)


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
