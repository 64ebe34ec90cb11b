"""Another model stands in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from libs.errors.errors import Reason, ResourceExhaustedError, ServiceError, UnavailableError
from libs.telemetry import metrics
from services.inference.app.fall_back import FallBack
from services.inference.domain.callers import Caller
from services.inference.domain.chat import Message, Role
from services.inference.domain.generation import Delta, Done, Event, FinishReason, Prompt, Usage
from services.inference.domain.models import model_not_found, model_unavailable

MAY = Caller("acme", may_fall_back=True)
MAY_NOT = Caller("acme")
END = Done(FinishReason.STOP, "small-v1", stamp=("small", "1"))


class Models:
    """`small` answers; the others fail as they were told to, after so many events."""

    def __init__(self, error: ServiceError, before: tuple[Event, ...] = ()) -> None:
        self.error = error
        self.before = before
        self.asked: list[str] = []
        self.closed = 0

    async def __call__(self, prompt: Prompt, caller: Caller) -> AsyncGenerator[Event, None]:
        self.asked.append(prompt.model)
        try:
            if prompt.model != "small":
                for event in self.before:
                    yield event
                raise self.error
            yield Delta("Yes")
            yield Usage(5, 1)
            yield END
        finally:
            self.closed += 1


async def events_of(models: Models, caller: Caller = MAY, model: str = "") -> list[Event]:
    """All that comes, where `large` is the default model and `small` its stand-in."""
    prompt = Prompt([Message(Role.USER, "?")], model)
    async with aclosing(FallBack(models, {"large": "small"}, "large")(prompt, caller)) as events:
        return [event async for event in events]


@pytest.mark.parametrize("error", [model_unavailable("large", "dead"), model_not_found("large")])
@pytest.mark.parametrize("model", ["", "large"])
async def test_another_model_stands_in(error: ServiceError, model: str) -> None:
    """For one that is dead, broken or not there, named or by default; the end says for which, and it is not kept."""
    models = Models(error)
    before = metrics.value("weft_inference_fallbacks_total", model="large", fallback="small")
    assert await events_of(models, model=model) == [
        Delta("Yes"),
        Usage(5, 1),
        Done(FinishReason.STOP, "small-v1", fallback_for="large"),
    ]
    assert (models.asked, models.closed) == ([model, "small"], 2)
    assert metrics.value("weft_inference_fallbacks_total", model="large", fallback="small") == before + 1


async def test_a_model_that_answers_has_no_stand_in() -> None:
    """And no mark."""
    models = Models(model_unavailable("large", "dead"))
    assert (await events_of(models, model="small"))[-1] == END
    assert models.asked == ["small"]


async def test_not_where_the_plan_does_not_allow_it() -> None:
    """The caller is told of the model's failure."""
    models = Models(model_unavailable("large", "dead"))
    with pytest.raises(UnavailableError):
        await events_of(models, MAY_NOT)
    assert models.asked == [""]


async def test_not_for_a_model_without_one() -> None:
    """Nor is any other model tried."""
    models = Models(model_unavailable("medium", "dead"))
    with pytest.raises(UnavailableError):
        await events_of(models, model="medium")
    assert models.asked == ["medium"]


async def test_not_after_something_was_produced() -> None:
    """Half an answer of one model is not continued by another."""
    models = Models(model_unavailable("large", "dead"), (Delta("No"), Usage(5, 1)))
    with pytest.raises(UnavailableError):
        await events_of(models)
    assert models.asked == [""]


async def test_not_for_an_overload() -> None:
    """A full queue is no failure of the model, and the other one's slots are for its own callers."""
    models = Models(ResourceExhaustedError(Reason.OVERLOADED, "full", retry_after_s=1.0))
    with pytest.raises(ResourceExhaustedError):
        await events_of(models)
    assert models.asked == [""]
