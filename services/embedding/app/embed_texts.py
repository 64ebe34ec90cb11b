"""Turns texts into vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.embedding.domain.embeddings import Embedded, Embedding, EmbedModel
from services.embedding.domain.texts import batches, check_texts, most_tokens
from services.embedding.ports import EmbedModels, TokenCounter


class EmbedTexts:
    """Embeds all texts of a request or none: in batches by length, `concurrency` at a time."""

    def __init__(
        self, models: EmbedModels, counter: TokenCounter, *, default_model: str, batch_tokens: int, concurrency: int
    ) -> None:
        self._models = models
        self._counter = counter
        self._default_model = default_model
        self._batch_tokens = batch_tokens
        self._concurrency = concurrency

    async def __call__(self, texts: Sequence[str], model: str = "") -> Embedded:
        """In the order of `texts`. The first failure cancels what else is under way."""
        check_texts(texts)
        described = await self._models.describe(model or self._default_model)
        if self._fit_together(texts, described):
            return Embedded(await self._models.embed(described, texts), described)
        counts = await self._counter.count(texts, described.max_tokens)
        waiting = batches(counts, batch_tokens=self._batch_tokens, batch_texts=described.batch_texts)
        embeddings: dict[int, Embedding] = {}

        async def work() -> None:
            for positions in waiting:
                found = await self._models.embed(described, [texts[position] for position in positions])
                embeddings.update(zip(positions, found, strict=True))

        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(work())
        return Embedded([embeddings[position] for position in range(len(texts))], described)

    def _fit_together(self, texts: Sequence[str], model: EmbedModel) -> bool:
        """Whether one batch holds them, however they are cut into tokens: then nothing needs to be counted."""
        longest = max(most_tokens(text, model.max_tokens) for text in texts)
        return len(texts) == 1 or (len(texts) <= model.batch_texts and longest * len(texts) <= self._batch_tokens)
