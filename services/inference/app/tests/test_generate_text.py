"""Continuing a conversation."""

import pytest

from libs.errors.errors import NotFoundError, Reason, UnavailableError
from services.inference.app.generate_text import GenerateText
from services.inference.app.tests.fakes import Catalogue, Clock, Counter, Generator
from services.inference.app.traffic import Traffic
from services.inference.app.turnstile import Turnstile
from services.inference.domain.callers import Caller
from services.inference.domain.chat import Message, Role
from services.inference.domain.chat_templates import render_chatml
from services.inference.domain.generation import Delta, Done, Event, FinishReason, Piece, Prompt, Sampling, Usage
from services.inference.domain.line import Bounds
from services.inference.domain.models import Model, ModelKind, model_unavailable

NAMED = Model("named", kind=ModelKind.GENERATE, parameters={"model_name": "extractive-v1"})
LLAMA = Model("llama", kind=ModelKind.GENERATE, parameters={"chat_template": "llama3"})
ODD = Model("odd", kind=ModelKind.GENERATE, parameters={"chat_template": "odd"})
EMBED = Model("embed", kind=ModelKind.EMBED)
VERSIONED = Model("versioned", "7", kind=ModelKind.GENERATE)
MESSAGES = [Message(Role.USER, "Why?")]
PIECES = [
    Piece("Be", input_tokens=5, output_tokens=1),
    Piece("", input_tokens=5, output_tokens=1),
    Piece("cause", input_tokens=5, output_tokens=2, finish_reason=FinishReason.LENGTH),
]


CALLER = Caller("acme", call_id="call-1")


def generating(generator: Generator, meter: Counter | None = None) -> GenerateText:
    """The use case, before some models."""
    turnstile = Turnstile(lambda model: Bounds(slots=2, queue=8), Traffic(), Clock())
    catalogue = Catalogue([NAMED, LLAMA, ODD, EMBED, VERSIONED])
    return GenerateText(catalogue, generator, turnstile, meter or Counter(), "named")


async def events_of(generator: Generator, prompt: Prompt, meter: Counter | None = None) -> list[Event]:
    """All that comes of a prompt."""
    return [event async for event in generating(generator, meter)(prompt, CALLER)]


async def test_events_come_in_order() -> None:
    """Deltas that are not empty, the sum of the tokens, the end with the model's descriptive name."""
    assert await events_of(Generator(PIECES), Prompt(MESSAGES)) == [
        Delta("Be"),
        Delta("cause"),
        Usage(5, 4),
        Done(FinishReason.LENGTH, "extractive-v1"),
    ]


async def test_the_model_is_told_what_was_asked() -> None:
    """The rendered prompt, the bound, the sampling and the call's id reach the model."""
    generator = Generator(PIECES)
    sampling = Sampling(temperature=0.5, stop=("x",))
    await events_of(generator, Prompt(MESSAGES, "llama", 7, sampling))
    (asked,) = generator.asked
    assert "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>" in asked.text
    assert (asked.max_output_tokens, asked.sampling, asked.call_id) == (7, sampling, "call-1")


async def test_the_default_bound() -> None:
    """No bound of output tokens is 512."""
    generator = Generator(PIECES)
    await events_of(generator, Prompt(MESSAGES))
    assert generator.asked[0].max_output_tokens == 512


async def test_a_failure_after_tokens_tells_the_usage_first() -> None:
    """What was used is told even where the model fails in mid-work."""
    generator, meter = Generator(PIECES[:1], model_unavailable("named", "died")), Counter()
    seen: list[Event] = []
    with pytest.raises(UnavailableError):
        async for event in generating(generator, meter)(Prompt(MESSAGES), CALLER):
            seen.append(event)  # noqa: PERF401
    assert seen == [Delta("Be"), Usage(5, 1)]
    assert [(counted.words, counted.over) for counted in meter.executions] == [([(5, 1)], True)]


async def test_a_failure_before_tokens_is_only_a_failure() -> None:
    """Nothing was used, so nothing is told."""
    with pytest.raises(UnavailableError):
        await events_of(Generator((), model_unavailable("named", "died")), Prompt(MESSAGES))


async def test_leaving_stops_the_model() -> None:
    """Closing the events in mid-stream closes the model's."""
    generator, meter = Generator(PIECES), Counter()
    events = generating(generator, meter)(Prompt(MESSAGES), CALLER)
    await anext(events)
    await events.aclose()
    assert generator.closed
    assert [(counted.words, counted.over) for counted in meter.executions] == [([(5, 1)], True)]


@pytest.mark.parametrize("model", ["embed", "missing"])
async def test_models_that_do_not_generate(model: str) -> None:
    """They are not found."""
    with pytest.raises(NotFoundError) as caught:
        await events_of(Generator(PIECES), Prompt(MESSAGES, model))
    assert (caught.value.reason, caught.value.metadata) == (Reason.MODEL_NOT_FOUND, {"model": model})


async def test_an_unknown_template() -> None:
    """A model whose template nobody knows is not guessed at."""
    with pytest.raises(UnavailableError, match="chat_template"):
        await events_of(Generator(PIECES), Prompt(MESSAGES, "odd"))


RENDERED = len(render_chatml(MESSAGES).encode())
"""Bytes of the prompt as the model reads it."""


async def test_what_is_told_is_what_is_recorded() -> None:
    """Each piece is counted as it comes, and the last word is the usage that the caller is told."""
    meter = Counter()
    events = await events_of(Generator(PIECES), Prompt(MESSAGES), meter)
    (counted,) = meter.executions
    assert (counted.model, counted.words, counted.over) == ("named", [(5, 1), (5, 2), (5, 4)], True)
    assert events[-2] == Usage(*counted.words[-1])


@pytest.mark.parametrize(("allowance", "limit"), [(RENDERED + 1, 1), (RENDERED + 4, 4), (RENDERED + 600, 512)])
async def test_an_allowance_bounds_what_is_written(allowance: int, limit: int) -> None:
    """The model may write what is left after the prompt's bytes, at most what was asked; no token is beyond it."""
    generator = Generator(PIECES)
    await events_of(generator, Prompt(MESSAGES), Counter(allowance))
    assert generator.asked[0].max_output_tokens == limit


async def test_a_text_that_the_allowance_ends() -> None:
    """LENGTH is BUDGET where the allowance was the reason, and LENGTH where the caller's own bound was."""
    for allowance, asked, reason in (
        (RENDERED + 4, 512, FinishReason.BUDGET),
        (RENDERED + 4, 4, FinishReason.LENGTH),
        (None, 4, FinishReason.LENGTH),
    ):
        events = await events_of(Generator(PIECES), Prompt(MESSAGES, max_output_tokens=asked), Counter(allowance))
        assert events[-1] == Done(reason, "extractive-v1")


@pytest.mark.parametrize("allowance", [0, 1, RENDERED])
async def test_nothing_left_to_write(allowance: int) -> None:
    """No model is asked, and nothing recorded: the answer is an end with BUDGET and a usage of nothing."""
    generator, meter = Generator(PIECES), Counter(allowance)
    assert await events_of(generator, Prompt(MESSAGES), meter) == [
        Usage(0, 0),
        Done(FinishReason.BUDGET, "extractive-v1"),
    ]
    assert (generator.asked, meter.executions) == ([], [])


async def test_a_prompt_is_bounded_by_its_bytes_not_its_characters() -> None:
    """A letter of three bytes may be three tokens."""
    generator = Generator(PIECES)
    await events_of(generator, Prompt([Message(Role.USER, "\u20ac\u20ac\u20ac\u20ac")]), Counter(RENDERED + 8 + 3))
    assert generator.asked[0].max_output_tokens == 3


async def test_a_model_that_does_not_stop_is_stopped() -> None:
    """What it wrote beyond its bound is counted, for it was produced; more is not asked for."""
    generator, meter = Generator([Piece("x", 5, 1)] * 9), Counter(RENDERED + 3)
    events = await events_of(generator, Prompt(MESSAGES), meter)
    assert events == [*[Delta("x")] * 4, Usage(5, 4), Done(FinishReason.BUDGET, "extractive-v1")]
    assert (generator.closed, meter.executions[0].words[-1]) == (True, (5, 4))


async def test_a_model_that_tells_no_tokens_is_counted_by_bytes() -> None:
    """Four bytes are a token, of the prompt and of the text, rounded up."""
    events = await events_of(Generator([Piece("abcd"), Piece("e")]), Prompt(MESSAGES))
    assert events[-2] == Usage(-(-RENDERED // 4), 2)


async def test_what_a_text_depends_on() -> None:
    """The end names model and version, but for a text that a budget has cut: nobody should keep that."""
    events = await events_of(Generator(PIECES), Prompt(MESSAGES, "versioned"))
    assert events[-1] == Done(FinishReason.LENGTH, "versioned", stamp=("versioned", "7"))
    events = await events_of(Generator(PIECES), Prompt(MESSAGES, "versioned"), Counter(RENDERED + 4))
    assert events[-1] == Done(FinishReason.BUDGET, "versioned")
