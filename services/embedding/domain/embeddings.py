"""Embeddings and the models that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libs.errors.errors import NotFoundError, Reason, ResourceExhaustedError, UnavailableError

RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class EmbedModel:
    """An embedding model. `name` and `served_version` are the inference server's.

    `description` and `version` tell whose vectors these are: those of another one must not be compared with them. The
    model reads the first `max_tokens` tokens of a text, and at most `batch_texts` texts at a time.
    """

    name: str
    served_version: str
    description: str
    version: str
    max_tokens: int
    batch_texts: int


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text's vector. `values` are float32, little-endian; `token_count` is what the model read of the text."""

    values: bytes
    token_count: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embeddings of a request, in its order."""

    embeddings: Sequence[Embedding]
    model: EmbedModel

    @property
    def input_tokens(self) -> int:
        """Tokens that the model read."""
        return sum(embedding.token_count for embedding in self.embeddings)


def model_not_found(model: str, what: str) -> NotFoundError:
    """The error of a call that names a model which is of no use to it."""
    return NotFoundError(Reason.MODEL_NOT_FOUND, f"{model}: {what}", metadata={"model": model})


def model_unavailable(model: str, what: str) -> UnavailableError:
    """The error of a call to a model that is there and does not answer."""
    return UnavailableError(
        Reason.MODEL_UNAVAILABLE, f"{model}: {what}; try again", metadata={"model": model}, retry_after_s=RETRY_AFTER_S
    )


def budget_exhausted(needed_tokens: int, allowance_tokens: int) -> ResourceExhaustedError:
    """The error of a call whose texts have more tokens than it may use. When there is more only the gateway knows."""
    return ResourceExhaustedError(
        Reason.BUDGET_EXHAUSTED,
        f"the texts have {needed_tokens} tokens, and {allowance_tokens} are left of the call's budget; send fewer",
        metadata={"budget": "call"},
    )
