"""Messages of weft.inference.v1 to the domain and back."""

from __future__ import annotations

from libs.auth.context import CallContext
from services.inference.domain.chat import Message, Role
from services.inference.domain.generation import (
    DEFAULT_OUTPUT_TOKENS,
    Delta,
    Event,
    FinishReason,
    Prompt,
    Sampling,
    Usage,
)
from services.inference.domain.models import Model
from weft.common.v1 import chat_message_pb2, usage_pb2
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import model_service_pb2 as model_pb

_ROLES = {
    chat_message_pb2.CHAT_ROLE_SYSTEM: Role.SYSTEM,
    chat_message_pb2.CHAT_ROLE_USER: Role.USER,
    chat_message_pb2.CHAT_ROLE_ASSISTANT: Role.ASSISTANT,
}
_FINISH_REASONS = {
    FinishReason.UNSPECIFIED: pb.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.BUDGET: pb.FINISH_REASON_BUDGET,
}


def prompt_of(message: pb.Prompt, call: CallContext) -> Prompt:
    """A valid Prompt message, within what its call may write."""
    asked, most = message.max_output_tokens or DEFAULT_OUTPUT_TOKENS, call.max_output_tokens
    return Prompt(
        messages=[Message(_ROLES[turn.role], turn.content) for turn in message.messages],
        model=message.model,
        max_output_tokens=min(asked, most) if most else asked,
        sampling=_sampling(message.sampling),
    )


def _sampling(message: pb.Sampling) -> Sampling:
    return Sampling(
        temperature=_decimal(message.temperature) if message.HasField("temperature") else None,
        top_p=_decimal(message.top_p) if message.HasField("top_p") else None,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )


def _decimal(value: float) -> float:
    """The number that the caller wrote: a float32 0.7 is 0.699999988 in Python."""
    return float(f"{value:.7g}")


def event_message(sequence: int, event: Event) -> pb.StreamGenerateResponse:
    """One message of the stream."""
    if isinstance(event, Delta):
        return pb.StreamGenerateResponse(sequence=sequence, delta=pb.Delta(text=event.text))
    if isinstance(event, Usage):
        return pb.StreamGenerateResponse(sequence=sequence, usage=usage_message(event))
    reason = finish_reason_value(event.finish_reason)
    done = pb.Done(finish_reason=reason, model=event.model, fallback_for=event.fallback_for)
    return pb.StreamGenerateResponse(sequence=sequence, done=done)


def finish_reason_value(reason: FinishReason) -> pb.FinishReason.ValueType:
    """The enum's value."""
    return _FINISH_REASONS[reason]


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """What it cost."""
    return usage_pb2.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


def model_message(model: Model) -> model_pb.Model:
    """One model; kinds and states have the contract's numbers."""
    return model_pb.Model(
        name=model.name,
        description=model.description,
        version=model.version,
        kind=model_pb.ModelKind.ValueType(model.kind.value),
        state=model_pb.ModelState.ValueType(model.state.value),
    )
