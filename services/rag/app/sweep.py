"""Takes away what nobody can find any more."""

from __future__ import annotations

from libs.errors.errors import ServiceError
from services.rag.ports import Catalogue, PassageIndex


class Sweep:
    """Removes garbage from the index. May run in several processes at a time, and be killed anywhere: it is only done
    again."""

    def __init__(self, catalogue: Catalogue, index: PassageIndex, *, batch: int = 100) -> None:
        self._catalogue = catalogue
        self._index = index
        self._batch = batch

    async def __call__(self) -> int:
        """One round over all tenants, until none has any left that is due. How much was removed.

        One tenant's failure does not keep the others waiting: the first one is raised at the end.
        """
        removed = 0
        failure: ServiceError | None = None
        async for tenant in self._catalogue.tenants():
            try:
                while count := await self._sweep(tenant):
                    removed += count
            except ServiceError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return removed

    async def _sweep(self, tenant: str) -> int:
        """A batch of one tenant's; how much that was."""
        batch = await self._catalogue.claim_garbage(tenant, limit=self._batch)
        for garbage in batch:
            await self._index.remove(garbage)
            await self._catalogue.forget(garbage)
        return len(batch)
