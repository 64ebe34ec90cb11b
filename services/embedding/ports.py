"""What embedding needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from services.embedding.domain.embeddings import Embedding, EmbedModel


class EmbedModels(Protocol):
    """The models of the inference service. Each method raises UnavailableError (MODEL_UNAVAILABLE,
    DEPENDENCY_UNAVAILABLE) and DeadlineExceededError."""

    async def describe(self, name: str) -> EmbedModel:
        """Raises NotFoundError (MODEL_NOT_FOUND) where there is none of the name, or it makes no embeddings."""
        ...

    async def embed(self, model: EmbedModel, texts: Sequence[str]) -> list[Embedding]:
        """One embedding for each text, in their order; at most `model.batch_texts` of them."""
        ...


class TokenCounter(Protocol):
    """Counts tokens as the models do."""

    async def count(self, texts: Sequence[str], max_tokens: int) -> list[int]:
        """At most `max_tokens` each, markers included. A count may be too high, never too low."""
        ...


class Execution(Protocol):
    """Work of a model that is under way."""

    @property
    def allowance_tokens(self) -> int | None:
        """The most tokens that it may read; None: no bound."""
        ...

    def used(self, *, input_tokens: int, output_tokens: int) -> None:
        """All that was used so far; the last word counts."""
        ...


class Executing(Protocol):
    """Has it written down what models do."""

    def __call__(self, model: str) -> AbstractAsyncContextManager[Execution]:
        """Work of the model of this name for the running call. On leaving, however, what was used is recorded."""
        ...
