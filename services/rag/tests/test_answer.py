"""Answering: from what was found, with citations, or honestly not."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from libs.errors.errors import Reason, UnavailableError
from libs.testing.eventually import eventually
from services.rag.app.answer_question import AnswerEvent, Cited, Delta, Ended, Outcome, Shown, Used
from services.rag.domain.prompt import Role, Turn
from services.rag.tests.fakes import FakeGenerator, unavailable
from services.rag.tests.world import TENANT, World, question

ASKED = "How fast are exceptions in python?"


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
    assert (used, ended) == (Used(6 + 10, 5), Ended(Outcome.ANSWERED, "fake-v1"))


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
    assert events == [Shown((), False), Used(7, 0), Ended(Outcome.NOT_FOUND, "")]
    assert world.generator.turns == []


async def test_the_model_may_find_nothing() -> None:
    """Its not-found sentence becomes the outcome, and no text."""
    world = await filled(FakeGenerator(["Not found", " in the sources", "."]))
    events = await world.ask(ASKED)
    assert not [event for event in events if isinstance(event, Delta)]
    assert events[-1] == Ended(Outcome.NOT_FOUND, "fake-v1")


async def test_a_cut_answer_says_so() -> None:
    """The outcome tells that the answer is not whole."""
    generator = FakeGenerator(["Very fast"])
    generator.cut = True
    world = await filled(generator)
    assert (await world.ask(ASKED))[-1] == Ended(Outcome.LENGTH, "fake-v1")


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
    assert (await world.ask("Who painted that famous ceiling?", *history))[-1] == Ended(Outcome.NOT_FOUND, "")


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
    """Without the embedder an answer is given where the passages have the question's words."""
    world = await filled(FakeGenerator(["Fast [1]."]))
    world.embedder.failure = unavailable("embedding")
    shown, *_, ended = await world.ask("exceptions in python fast")
    assert isinstance(shown, Shown)
    assert shown.lexical_only
    assert ended == Ended(Outcome.ANSWERED, "fake-v1")
    assert (await world.ask("painted ceiling chapel python"))[-1] == Ended(Outcome.NOT_FOUND, "")
