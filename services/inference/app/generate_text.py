"""Continues a conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.errors.errors import ServiceError
from services.inference.domain.chat import check_conversation
from services.inference.domain.chat_templates import DEFAULT_TEMPLATE, TEMPLATES, ChatTemplate
from services.inference.domain.generation import (
    Continuation,
    Delta,
    Done,
    Event,
    FinishReason,
    Prompt,
    Usage,
)
from services.inference.domain.models import Model, ModelKind, model_not_found, model_unavailable
from services.inference.ports import ModelCatalogue, TextGenerator


class GenerateText:
    """Renders a conversation for the model that is asked for, and tells what the model makes of it."""

    def __init__(self, catalogue: ModelCatalogue, generator: TextGenerator, default_model: str) -> None:
        self._catalogue = catalogue
        self._generator = generator
        self._default_model = default_model

    async def __call__(self, prompt: Prompt, call_id: str) -> AsyncGenerator[Event, None]:
        """Deltas, then the usage, then the end. Where the model fails, the usage comes before the ServiceError, if it
        had begun. Closing the generator stops the model."""
        check_conversation(prompt.messages)
        model = await self._catalogue.loaded(prompt.model or self._default_model)
        if model.kind is not ModelKind.GENERATE:
            raise model_not_found(model.name, "it does not generate text")
        text = _template(model)(prompt.messages)
        continuation = Continuation(text, prompt.max_output_tokens, prompt.sampling, call_id)
        input_tokens = output_tokens = 0
        finish_reason = FinishReason.UNSPECIFIED
        try:
            async with aclosing(self._generator.generate(model, continuation)) as pieces:
                async for piece in pieces:
                    input_tokens = piece.input_tokens or input_tokens
                    output_tokens += piece.output_tokens
                    finish_reason = piece.finish_reason
                    if piece.text:
                        yield Delta(piece.text)
        except ServiceError:
            if input_tokens or output_tokens:
                yield Usage(input_tokens, output_tokens)
            raise
        yield Usage(input_tokens, output_tokens)
        yield Done(finish_reason, model.description or model.name)


def _template(model: Model) -> ChatTemplate:
    name = model.parameters.get("chat_template", DEFAULT_TEMPLATE)
    template = TEMPLATES.get(name)
    if template is None:
        known = ", ".join(sorted(TEMPLATES))
        raise model_unavailable(model.name, f"its parameter chat_template is {name!r}, which is none of {known}")
    return template
