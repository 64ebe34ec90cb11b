"""Turns texts into vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.embedding.domain.embeddings import Embedded, Embedding, EmbedModel, budget_exhausted
from services.embedding.domain.texts import batches, check_texts, most_tokens
from services.embedding.ports import EmbedModels, Executing, Execution, TokenCounter


class EmbedTexts:
    """Embeds all texts of a request or none: in batches by length, `concurrency` at a time.

    A request is one execution, which has used the tokens of the batches that came back, whatever its end is.
    """

    def __init__(
        self,
        models: EmbedModels,
        counter: TokenCounter,
        executing: Executing,
        *,
        default_model: str,
        batch_tokens: int,
        concurrency: int,
    ) -> None:
        self._models = models
        self._counter = counter
        self._executing = executing
        self._default_model = default_model
        self._batch_tokens = batch_tokens
        self._concurrency = concurrency

    async def __call__(self, texts: Sequence[str], model: str = "") -> Embedded:
        """In the order of `texts`. The first failure cancels what else is under way.

        Raises ResourceExhaustedError (BUDGET_EXHAUSTED), before a model is asked, where the call may not use as many
        tokens as the texts have.
        """
        check_texts(texts)
        described = await self._models.describe(model or self._default_model)
        async with self._executing(described.name) as execution:
            counts = await self._counted(texts, described, execution.allowance_tokens)
            together = [list(range(len(texts)))]
            if counts is not None:
                together = list(batches(counts, batch_tokens=self._batch_tokens, batch_texts=described.batch_texts))
            return Embedded(await self._embedded(texts, described, together, execution), described)

    async def _counted(self, texts: Sequence[str], model: EmbedModel, allowance_tokens: int | None) -> list[int] | None:
        """Tokens of each text; None where one batch holds them and they may be used, however they are cut into tokens:
        then nothing needs to be counted."""
        bounds = [most_tokens(text, model.max_tokens) for text in texts]
        is_allowed = allowance_tokens is None or sum(bounds) <= allowance_tokens
        if is_allowed and self._fit_together(bounds, model):
            return None
        counts = await self._counter.count(texts, model.max_tokens)
        if allowance_tokens is not None and sum(counts) > allowance_tokens:
            raise budget_exhausted(sum(counts), allowance_tokens)
        return counts

    def _fit_together(self, bounds: Sequence[int], model: EmbedModel) -> bool:
        """Whether one batch holds texts of so many tokens at most."""
        return len(bounds) == 1 or (
            len(bounds) <= model.batch_texts and max(bounds) * len(bounds) <= self._batch_tokens
        )

    async def _embedded(
        self, texts: Sequence[str], model: EmbedModel, together: Sequence[list[int]], execution: Execution
    ) -> list[Embedding]:
        """The texts' embeddings, from batches of their positions."""
        waiting = iter(together)
        embeddings: dict[int, Embedding] = {}
        used_tokens = 0

        async def work() -> None:
            nonlocal used_tokens
            for positions in waiting:
                found = await self._models.embed(model, [texts[position] for position in positions])
                used_tokens += sum(embedding.token_count for embedding in found)
                execution.used(input_tokens=used_tokens, output_tokens=0)
                embeddings.update(zip(positions, found, strict=True))

        if len(together) == 1:
            await work()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._concurrency, len(together))):
                    group.create_task(work())
        return [embeddings[position] for position in range(len(texts))]
