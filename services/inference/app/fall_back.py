"""Lets another model stand in for one that does not answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TypeAlias

from libs.errors.errors import Reason, ServiceError
from libs.telemetry import logs, metrics
from services.inference.domain.callers import Caller
from services.inference.domain.generation import Done, Event, Prompt

Generate: TypeAlias = Callable[[Prompt, Caller], AsyncGenerator[Event, None]]

_FALLBACKS = metrics.counter(
    "weft_inference_fallbacks_total", "generations in which another model stood in", ["model", "fallback"]
)
_UNAVAILABLE = (Reason.MODEL_UNAVAILABLE, Reason.MODEL_NOT_FOUND)


class FallBack:
    """Generates with the model that is asked for, or with its stand-in where that one is dead, not loaded, or left
    alone by its breaker, if the caller's plan allows it and nothing was produced yet. `fallbacks` names the stand-in of
    a model; that one has none itself."""

    def __init__(self, generate: Generate, fallbacks: Mapping[str, str], default_model: str) -> None:
        self._generate = generate
        self._fallbacks = fallbacks
        self._default_model = default_model

    async def __call__(self, prompt: Prompt, caller: Caller) -> AsyncGenerator[Event, None]:
        """As GenerateText; where another model stood in, the end says for which."""
        asked = prompt.model or self._default_model
        stand_in = self._fallbacks.get(asked) if caller.may_fall_back else None
        begun = False
        try:
            async with aclosing(self._generate(prompt, caller)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except ServiceError as error:
            if begun or stand_in is None or error.reason not in _UNAVAILABLE:
                raise
            logs.info("falling back", model=asked, fallback=stand_in, why=error.message)
        _FALLBACKS.labels(model=asked, fallback=stand_in).inc()
        async with aclosing(self._generate(replace(prompt, model=stand_in), caller)) as events:
            async for event in events:
                yield replace(event, fallback_for=asked, stamp=None) if isinstance(event, Done) else event
