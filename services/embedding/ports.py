"""What embedding needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
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
