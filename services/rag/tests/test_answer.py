"""Answering: from what was found, with citations, or honestly not."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from libs.errors.errors import (
    DeadlineExceededError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
)
from libs.testing.eventually import eventually
from services.rag.app.answer_question import AnswerEvent, Cited, Delta, Ended, Outcome, Shown, Used
from services.rag.domain.prompt import Role, Turn
from services.rag.ports import Finish
from services.rag.tests.fakes import FakeGenerator, unavailable
from services.rag.tests.world import COLLECTION, TENANT, World, question

ASKED = "How fast are exceptions in python?"
GENERATION = 3
"""Of a collection with two documents."""


async def filled(generator: FakeGenerator) -> World:
    """A world with two documents."""
    world = await World(generator=generator).with_collection()
    await world.put("exceptions", "Exceptions in python are fast.")
    await world.put("windows", "Python runs on Windows after install.")
    return world


async def test_an_answer_has_its_events_in_order() -> None:
    """What is shown, text and citations with their places, the cost, the end."""
    world = await filled(FakeGenerator(["Very ", "fast [", "1][", "9]. Yes", " [1]"]))
    shown, *middle, used, ended = await world.ask(ASKED)
    assert isinstance(shown, Shown)
    assert [hit.passage.document_id for hit in shown.hits] == ["exceptions", "windows"]
    text = "".join(event.text for event in middle if isinstance(event, Delta))
    assert text == "Very fast [1]. Yes [1]"
    cited = [event for event in middle if isinstance(event, Cited)]
    assert [(each.number, text[each.start : each.end]) for each in cited] == [(1, "[1]"), (1, "[1]")]
    assert cited[0].passage == shown.hits[0].passage
    before = middle[middle.index(cited[0]) - 1]
    assert isinstance(before, Delta)
    assert before.text.endswith("[1]")
    assert (used, ended) == (Used(6 + 10, 5), Ended(Outcome.ANSWERED, "fake-v1", generation=GENERATION))


async def test_the_model_sees_sources_history_and_question() -> None:
    """In the prompt's form, the best passage first."""
    world = await filled(FakeGenerator(["x"]))
    history = [Turn(Role.USER, "Hello"), Turn(Role.ASSISTANT, "Hi [3].")]
    await world.ask(ASKED, *history)
    (turns,) = world.generator.turns
    assert [turn.role for turn in turns] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert turns[2].content == "Hi."
    assert turns[3].content.startswith("Sources:\n[1] exceptions\nExceptions in python are fast.\n\n[2] windows\n")
    assert turns[3].content.endswith(f"\n\nQuestion: {ASKED}")


async def test_what_the_collection_does_not_answer_is_not_asked() -> None:
    """Too little evidence: nothing is shown, no model is called, no text is written."""
    world = await filled(FakeGenerator(["a guess"]))
    events = await world.ask("Who painted the ceiling of that chapel?")
    assert events == [Shown((), False), Used(7, 0), Ended(Outcome.NOT_FOUND, generation=GENERATION)]
    assert world.generator.turns == []


async def test_the_model_may_find_nothing() -> None:
    """Its not-found sentence becomes the outcome, and no text."""
    world = await filled(FakeGenerator(["Not found", " in the sources", "."]))
    events = await world.ask(ASKED)
    assert not [event for event in events if isinstance(event, Delta)]
    assert events[-1] == Ended(Outcome.NOT_FOUND, "fake-v1", generation=GENERATION)


async def test_a_cut_answer_says_so() -> None:
    """The outcome tells that the answer is not whole, and why."""
    generator = FakeGenerator(["Very fast"])
    generator.end = replace(generator.end, finish=Finish.LENGTH)
    world = await filled(generator)
    assert (await world.ask(ASKED))[-1] == Ended(Outcome.LENGTH, "fake-v1", generation=GENERATION)
    generator.end = replace(generator.end, finish=Finish.BUDGET)
    assert (await world.ask(ASKED))[1:] == [Delta("Very fast"), Used(16, 1), Ended(Outcome.BUDGET, "fake-v1")]
    generator.pieces = []
    assert (await world.ask(ASKED))[1:] == [Used(16, 0), Ended(Outcome.BUDGET, "fake-v1")]


async def test_a_follow_up_is_understood_with_what_was_asked_before() -> None:
    """ "And on Windows?" finds what it means; a question about something else is not answered from the old topic."""
    world = await filled(FakeGenerator(["x [1]"]))
    history = [Turn(Role.USER, "How do I install python so that it runs?"), Turn(Role.ASSISTANT, "Like this.")]
    await world.put("glass", "And on windows, glass")
    alone = (await world.ask("And on windows?", top_k=1))[0]
    follow_up = (await world.ask("And on windows?", *history, top_k=1))[0]
    assert isinstance(alone, Shown)
    assert isinstance(follow_up, Shown)
    assert [hit.passage.document_id for hit in (*alone.hits, *follow_up.hits)] == ["glass", "windows"]
    ended = (await world.ask("Who painted that famous ceiling?", *history))[-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.NOT_FOUND


async def test_a_failure_comes_after_the_usage() -> None:
    """What was written until then is told, then the error is raised."""
    world = await filled(FakeGenerator(["Very fast"], failure=unavailable("inference")))
    seen: list[AnswerEvent] = []
    with pytest.raises(UnavailableError) as caught:
        async for event in world.answer(TENANT, question(ASKED)):
            seen.append(event)  # noqa: PERF401  a comprehension would lose what came before the error
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert seen[1:] == [Delta("Very fast"), Used(16, 1)]


async def test_closing_an_answer_stops_the_model() -> None:
    """The generator is closed with it, at once."""
    world = await filled(FakeGenerator(["Very fast, "], hangs=True))
    async with aclosing(world.answer(TENANT, question(ASKED))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
        assert not world.generator.stopped
    assert world.generator.stopped


async def test_cancelling_an_answer_stops_the_model() -> None:
    """The same for the task that reads it."""
    world = await filled(FakeGenerator(hangs=True))
    task = asyncio.create_task(world.ask(ASKED))
    await eventually(lambda: world.generator.turns)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.generator.stopped


async def test_words_alone_are_enough_to_answer() -> None:
    """Without the embedder an answer is given where the passages have the question's words; where they have few, the
    passages are, and "not found" where they have none."""
    world = await filled(FakeGenerator(["Fast [1]."]))
    world.embedder.failure = unavailable("embedding")
    shown, *_, ended = await world.ask("exceptions in python fast")
    assert isinstance(shown, Shown)
    assert shown.lexical_only
    assert ended == Ended(Outcome.ANSWERED, "fake-v1")
    shown, *_, ended = await world.ask("painted ceiling chapel python")
    assert isinstance(shown, Shown)
    assert shown.hits
    assert ended == Ended(Outcome.PASSAGES_ONLY)
    assert (await world.ask("zzz"))[-1] == Ended(Outcome.NOT_FOUND)


AWAY = {
    "breaker": unavailable("inference"),
    "model": UnavailableError(Reason.MODEL_UNAVAILABLE, "dead", metadata={"model": "m"}),
    "full": ResourceExhaustedError(Reason.OVERLOADED, "full", retry_after_s=1.0),
}
NOT_AWAY = {
    "no model": NotFoundError(Reason.MODEL_NOT_FOUND, "none", metadata={"model": "m"}),
    "late": DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late"),
    "budget": ResourceExhaustedError(Reason.BUDGET_EXHAUSTED, "used up", metadata={"budget": "call"}),
    "internal": ServiceError(Reason.INTERNAL, "internal error"),
}


@pytest.mark.parametrize("why", AWAY)
async def test_where_no_model_can_write_the_passages_are_the_answer(why: str) -> None:
    """What was found, what that cost, and an outcome of its own; no text, no model, no error, and not to be kept."""
    world = await filled(FakeGenerator(failure=AWAY[why]))
    shown, *rest = await world.ask(ASKED)
    assert isinstance(shown, Shown)
    assert [hit.passage.document_id for hit in shown.hits] == ["exceptions", "windows"]
    assert rest == [Used(6 + 10, 0), Ended(Outcome.PASSAGES_ONLY)]


@pytest.mark.parametrize("why", NOT_AWAY)
async def test_other_failures_stay_failures(why: str) -> None:
    """A model that there is not, a deadline that has passed, a budget that is used up, a fault."""
    world = await filled(FakeGenerator(failure=NOT_AWAY[why]))
    with pytest.raises(ServiceError) as caught:
        await world.ask(ASKED)
    assert caught.value is NOT_AWAY[why]


@pytest.mark.parametrize("piece", ["Very fast", "Not found"])
async def test_a_model_that_fails_in_the_middle_is_a_failure(piece: str) -> None:
    """Once it has written, be it text that is held back yet, there is no other answer."""
    world = await filled(FakeGenerator([piece], failure=AWAY["full"]))
    with pytest.raises(ResourceExhaustedError):
        await world.ask(ASKED)


async def test_an_answer_names_the_model_that_stood_in() -> None:
    """With the one in whose place it wrote."""
    generator = FakeGenerator(["Fast [1]."])
    generator.end = replace(generator.end, fallback_for="large-v1")
    world = await filled(generator)
    assert (await world.ask(ASKED))[-1] == Ended(Outcome.ANSWERED, "fake-v1", "large-v1")


async def test_what_may_be_kept_names_the_generation_before_the_search() -> None:
    """Not that of a write while it searched."""
    world = await filled(FakeGenerator(["x [1]"]))
    before = (await world.catalogue.collection(TENANT, COLLECTION)).generation

    async def write() -> None:
        await world.put("late", "Late words.")

    world.index.on_search.append(write)
    ended = (await world.ask(ASKED))[-1]
    assert isinstance(ended, Ended)
    assert (await world.catalogue.collection(TENANT, COLLECTION)).generation > before == ended.generation


async def test_an_answer_of_unknown_models_is_not_kept() -> None:
    """Whichever of the two did not say its version."""
    world = await filled(FakeGenerator(["x [1]"]))
    world.generator.end = replace(world.generator.end, is_stamped=False)
    assert (await world.ask(ASKED))[-1] == Ended(Outcome.ANSWERED, "fake-v1")
    world.generator.end = replace(world.generator.end, is_stamped=True)
    world.embedder.is_stamped = False
    assert (await world.ask(ASKED))[-1] == Ended(Outcome.ANSWERED, "fake-v1")


async def test_a_budget_that_does_not_pay_the_question_is_told() -> None:
    """It is no reason to search by words alone."""
    world = await filled(FakeGenerator(["x"]))
    world.embedder.failure = ResourceExhaustedError(Reason.BUDGET_EXHAUSTED, "no", metadata={"budget": "call"})
    with pytest.raises(ResourceExhaustedError):
        await world.ask(ASKED)
    with pytest.raises(ResourceExhaustedError):
        await world.found(ASKED)
    assert world.generator.turns == []
