"""What nobody can find any more is taken away, however much that is and whatever fails beside it."""

from __future__ import annotations

import pytest

from libs.errors.errors import Reason, ServiceError, UnavailableError
from services.rag.app.sweep import Sweep
from services.rag.ports import Garbage, Scope
from services.rag.tests.fakes import FakeIndex
from services.rag.tests.world import COLLECTION, NO_ID, TENANT, World

OTHER = "other"


class StuckIndex(FakeIndex):
    """Removes nothing of one tenant."""

    async def remove(self, garbage: Garbage) -> None:
        if garbage.scope.tenant == TENANT:
            raise UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "stuck")
        await super().remove(garbage)


async def scope(world: World, tenant: str) -> Scope:
    return Scope(tenant, (await world.catalogue.collection(tenant, COLLECTION)).uid)


async def test_one_round_takes_all_that_is_due() -> None:
    """More garbage than a batch holds is gone after one round."""
    world = await World().with_collection()
    for number in range(7):
        await world.put("d", f"text number {number}")
    assert await Sweep(world.catalogue, world.index, batch=2)() == 6
    assert await world.index.count(Garbage(await scope(world, TENANT))) == 1


async def test_a_tenant_whose_garbage_is_stuck_delays_nobody() -> None:
    """The others' garbage is taken away, and the failure is told in the end."""
    world = await World(index=StuckIndex()).with_collection()
    await world.catalogue.create_collection(OTHER, COLLECTION, "", NO_ID)
    for tenant in (TENANT, OTHER):
        for text in ("before", "after"):
            await world.put("d", text, tenant=tenant)
    with pytest.raises(ServiceError, match="stuck"):
        await world.sweep()
    assert await world.index.count(Garbage(await scope(world, TENANT))) == 2
    assert await world.index.count(Garbage(await scope(world, OTHER))) == 1
