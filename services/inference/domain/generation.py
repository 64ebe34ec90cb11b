"""What generation is asked for, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from services.inference.domain.chat import Message

DEFAULT_OUTPUT_TOKENS = 512


class FinishReason(Enum):
    """Why a continuation ended."""

    UNSPECIFIED = "unspecified"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None: as the model does by itself."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation and how to continue it. `model` "" is the service's own."""

    messages: Sequence[Message]
    model: str = ""
    max_output_tokens: int = DEFAULT_OUTPUT_TOKENS
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model is told to do: continue `text`. `call_id` stands in the model server's log."""

    text: str
    max_output_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a model says at a time: text, the tokens of this piece, the prompt's tokens (0: not said), why it ends."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: FinishReason = FinishReason.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Delta:
    """More text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What it cost."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended; `model` is the model's descriptive name."""

    finish_reason: FinishReason
    model: str


Event = Delta | Usage | Done
