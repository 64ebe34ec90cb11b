"""Continues a conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.errors.errors import ServiceError
from services.inference.app.turnstile import Turnstile
from services.inference.domain.callers import Caller
from services.inference.domain.chat import check_conversation
from services.inference.domain.chat_templates import DEFAULT_TEMPLATE, TEMPLATES, ChatTemplate
from services.inference.domain.generation import (
    Continuation,
    Delta,
    Done,
    Event,
    FinishReason,
    Prompt,
    Tally,
    Usage,
    most_output_tokens,
)
from services.inference.domain.models import Model, ModelKind, model_not_found, model_unavailable
from services.inference.ports import Meter, ModelCatalogue, TextGenerator


class GenerateText:
    """Renders a conversation for the model that is asked for, and tells what the model makes of it."""

    def __init__(
        self,
        catalogue: ModelCatalogue,
        generator: TextGenerator,
        turnstile: Turnstile,
        meter: Meter,
        default_model: str,
    ) -> None:
        self._catalogue = catalogue
        self._generator = generator
        self._turnstile = turnstile
        self._meter = meter
        self._default_model = default_model

    async def __call__(self, prompt: Prompt, caller: Caller) -> AsyncGenerator[Event, None]:
        """Deltas, then the usage, then the end. Where the model fails, the usage comes before the ServiceError, if it
        had begun. Closing the generator stops the model.

        Never reads and writes more than the call's allowance: what is left for writing ends the text with BUDGET, and
        where nothing is, no model is asked. What was used is recorded, whatever the end is.
        """
        check_conversation(prompt.messages)
        model = await self._catalogue.loaded(prompt.model or self._default_model)
        if model.kind is not ModelKind.GENERATE:
            raise model_not_found(model.name, "it does not generate text")
        text = _template(model)(prompt.messages)
        limit = most_output_tokens(prompt.max_output_tokens, text, self._meter.allowance_tokens())
        if limit < 1:
            yield Usage(0, 0)
            yield Done(FinishReason.BUDGET, model.description or model.name)
            return
        continuation = Continuation(text, limit, prompt.sampling, caller.call_id)
        finish_reason = FinishReason.UNSPECIFIED
        async with aclosing(self._metered(model, continuation, caller)) as events:
            async for event in events:
                if isinstance(event, FinishReason):
                    finish_reason = event
                else:
                    yield event
        cut = finish_reason is FinishReason.LENGTH and limit < prompt.max_output_tokens
        stamp = (model.name, model.version) if model.version and not cut else None
        yield Done(FinishReason.BUDGET if cut else finish_reason, model.description or model.name, stamp=stamp)

    async def _metered(
        self, model: Model, continuation: Continuation, caller: Caller
    ) -> AsyncGenerator[Delta | Usage | FinishReason, None]:
        """Deltas, the usage, why it ended. The slot is given back before it is written down what was used."""
        tally = Tally(continuation.text)
        finish_reason = FinishReason.UNSPECIFIED
        with await self._turnstile.enter(model.name, caller) as turn:
            async with self._meter.executing(model.name) as execution:
                try:
                    with turn:
                        async with aclosing(self._generator.generate(model, continuation)) as pieces:
                            async for piece in pieces:
                                turn.produced()
                                usage = tally.add(piece)
                                execution.used(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
                                finish_reason = piece.finish_reason
                                if piece.text:
                                    yield Delta(piece.text)
                                if usage.output_tokens > continuation.max_output_tokens:
                                    finish_reason = FinishReason.LENGTH
                                    break  # A model that does not stop by itself.
                except ServiceError:
                    if tally.usage != Usage(0, 0):
                        yield tally.usage
                    raise
        yield tally.usage
        yield finish_reason


def _template(model: Model) -> ChatTemplate:
    name = model.parameters.get("chat_template", DEFAULT_TEMPLATE)
    template = TEMPLATES.get(name)
    if template is None:
        known = ", ".join(sorted(TEMPLATES))
        raise model_unavailable(model.name, f"its parameter chat_template is {name!r}, which is none of {known}")
    return template
