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
    BUDGET = "budget"


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
    """How it ended. `model` is the model's descriptive name, `fallback_for` the name of the one that it stood in for.

    `stamp`: the model's name and version, where the text is worth keeping: no budget cut it, and no other model was to
    write it.
    """

    finish_reason: FinishReason
    model: str
    fallback_for: str = ""
    stamp: tuple[str, str] | None = None


Event = Delta | Usage | Done


def most_output_tokens(asked: int, text: str, allowance_tokens: int | None) -> int:
    """Most tokens to write where `allowance_tokens` may be read and written together; below 1: none.

    The prompt's tokens are not known yet: no tokenizer makes more of them than its text has bytes of UTF-8.
    """
    return asked if allowance_tokens is None else min(asked, allowance_tokens - len(text.encode()))


class Tally:
    """What a model has used so far. Where it does not tell its tokens, one is counted for each BYTES_PER_TOKEN."""

    BYTES_PER_TOKEN = 4

    def __init__(self, text: str) -> None:
        self._text_bytes = len(text.encode())
        self._told = Usage(0, 0)
        self._written_bytes = 0
        self._begun = False

    def add(self, piece: Piece) -> Usage:
        """The usage with one more piece."""
        read = piece.input_tokens or self._told.input_tokens
        self._told = Usage(read, self._told.output_tokens + piece.output_tokens)
        self._written_bytes += len(piece.text.encode())
        self._begun = True
        return self.usage

    @property
    def usage(self) -> Usage:
        """All so far."""
        if not self._begun:
            return Usage(0, 0)
        return Usage(
            self._told.input_tokens or -(-self._text_bytes // self.BYTES_PER_TOKEN),
            self._told.output_tokens or -(-self._written_bytes // self.BYTES_PER_TOKEN),
        )
