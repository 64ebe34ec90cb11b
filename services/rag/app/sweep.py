"""Takes away what nobody can find any more."""

from __future__ import annotations

from services.rag.ports import Catalogue, PassageIndex


class Sweep:
    """Removes garbage from the index. May run in several processes at a time, and be killed anywhere: it is only done
    again."""

    def __init__(self, catalogue: Catalogue, index: PassageIndex, *, batch: int = 100) -> None:
        self._catalogue = catalogue
        self._index = index
        self._batch = batch

    async def __call__(self) -> int:
        """One round over all tenants, at most a batch each. How much was removed; errors are raised, the rest comes
        later."""
        removed = 0
        async for tenant in self._catalogue.tenants():
            for garbage in await self._catalogue.claim_garbage(tenant, limit=self._batch):
                await self._index.remove(garbage)
                await self._catalogue.forget(garbage)
                removed += 1
        return removed
