"""Continuing a conversation."""

import pytest

from libs.errors.errors import NotFoundError, Reason, UnavailableError
from services.inference.app.generate_text import GenerateText
from services.inference.app.tests.fakes import Catalogue, Generator
from services.inference.domain.chat import Message, Role
from services.inference.domain.generation import Delta, Done, Event, FinishReason, Piece, Prompt, Sampling, Usage
from services.inference.domain.models import Model, ModelKind, model_unavailable

NAMED = Model("named", kind=ModelKind.GENERATE, parameters={"model_name": "extractive-v1"})
LLAMA = Model("llama", kind=ModelKind.GENERATE, parameters={"chat_template": "llama3"})
ODD = Model("odd", kind=ModelKind.GENERATE, parameters={"chat_template": "odd"})
EMBED = Model("embed", kind=ModelKind.EMBED)
MESSAGES = [Message(Role.USER, "Why?")]
PIECES = [
    Piece("Be", input_tokens=5, output_tokens=1),
    Piece("", input_tokens=5, output_tokens=1),
    Piece("cause", input_tokens=5, output_tokens=2, finish_reason=FinishReason.LENGTH),
]


async def events_of(generator: Generator, prompt: Prompt) -> list[Event]:
    """All that comes of a prompt."""
    generate = GenerateText(Catalogue([NAMED, LLAMA, ODD, EMBED]), generator, "named")
    return [event async for event in generate(prompt, "call-1")]


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
    error = model_unavailable("named", "died")
    generate = GenerateText(Catalogue([NAMED]), Generator(PIECES[:1], error), "named")
    seen: list[Event] = []
    with pytest.raises(UnavailableError):
        async for event in generate(Prompt(MESSAGES), "call-1"):
            seen.append(event)  # noqa: PERF401
    assert seen == [Delta("Be"), Usage(5, 1)]


async def test_a_failure_before_tokens_is_only_a_failure() -> None:
    """Nothing was used, so nothing is told."""
    with pytest.raises(UnavailableError):
        await events_of(Generator((), model_unavailable("named", "died")), Prompt(MESSAGES))


async def test_leaving_stops_the_model() -> None:
    """Closing the events in mid-stream closes the model's."""
    generator = Generator(PIECES)
    events = GenerateText(Catalogue([NAMED]), generator, "named")(Prompt(MESSAGES), "call-1")
    await anext(events)
    await events.aclose()
    assert generator.closed


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
