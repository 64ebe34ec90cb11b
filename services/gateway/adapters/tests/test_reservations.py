"""What becomes of a reservation, over the real store."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from redis.asyncio import Redis

from libs.ledger.accounts import Execution
from libs.ledger.keys import TENANTS, LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.ledger.sweeper import LedgerSweeper
from libs.plans.plans import Price, Prices
from libs.store.together import Together
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.demands import (
    PRICES,
    clear_of_midnight,
    context,
    demand,
    records,
    sums,
    today,
    tokens_of,
)


@pytest.fixture
def ledger(redis: Redis) -> RedisLedger:
    """What a service records with."""
    return RedisLedger(redis, within_s=10.0)


async def test_a_lease_that_ends_in_silence_is_charged_and_corrected(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """An execution that began and never told: what is reserved is charged and counted; when it tells after all, what it
    used is what is charged."""
    await clear_of_midnight(redis)
    asked = demand(tenant, lease_s=0.2)
    call = context(asked)
    await admissions.admit(asked)
    ledger.begin(call, "/1")
    ledger.begin(call, "/2")
    await ledger.record(call, Execution("/1", "small", 10, 10))
    lapsed = metrics.value("weft_ledger_lapsed_total")
    sweeper = LedgerSweeper(Together(redis))
    assert await eventually(lambda: sweeper.sweep(tenant)) == 1
    assert metrics.value("weft_ledger_lapsed_total") - lapsed == 1
    assert await tokens(redis, tenant) == [150, 0]
    await ledger.record(call, Execution("/2", "small", 20, 10))
    assert await tokens(redis, tenant) == [50, 0]
    written = [(record["execution"], tokens_of(record)) for record in await records(redis, tenant)]
    assert written == [("/1", 20), ("", 130), ("/2", 30), ("", -30), ("", -100)]


async def test_a_lease_that_has_only_money_left_is_corrected_too(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """All tokens were told and the dearest price was not met: at the lease's end the money alone is charged, then taken
    back; and the other way about where tokens are free."""
    await clear_of_midnight(redis)
    free = Prices("free", "EUR", {}, Price(0, 0))
    for number, prices in enumerate((PRICES, free)):
        asked = demand(tenant, lease_s=0.05, prices=prices)
        call = context(asked)
        await admissions.admit(asked)
        ledger.begin(call, "/1")
        if prices is PRICES:
            await ledger.record(call, Execution("/2", "small", 100, 50))
        assert await eventually(partial(LedgerSweeper(Together(redis)).sweep, tenant)) == 1
        await ledger.record(call, Execution("/1", "small", 0, 0))
        assert await tokens(redis, tenant) == [150, 0]
        assert (await sums(redis, tenant, await today(redis)))["tenant:money:used"] == 200, number


async def test_a_lease_that_ends_with_nothing_open_is_released(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """Nobody closed the call, but nothing of it goes on: what it did not use is free, at the tenant's next call."""
    await clear_of_midnight(redis)
    asked = demand(tenant, lease_s=0.05)
    await admissions.admit(asked)
    ledger.begin(context(asked), "/1")
    await ledger.record(context(asked), Execution("/1", "small", 10, 10))

    async def free() -> bool:
        await admissions.admit(demand(tenant, worst=None))
        return await tokens(redis, tenant) == [20, 0]

    await eventually(free)


async def test_idle_tenants_are_swept(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """The sweeper knows every tenant that had a call admitted, and ends its leases though it calls no more."""
    await clear_of_midnight(redis)
    await admissions.admit(demand(tenant, lease_s=0.05))
    assert await eventually(lambda: redis.sismember(TENANTS, tenant))
    sweeping = asyncio.create_task(LedgerSweeper(Together(redis), every_s=0.02).run())

    async def free() -> bool:
        return await tokens(redis, tenant) == [0, 0]

    await eventually(free)
    sweeping.cancel()
    await asyncio.wait([sweeping])
    assert sweeping.cancelled()


async def test_paths_that_were_not_seen_to_end_are_waited_for(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """A call that is closed keeps its reservation until each unseen path under it has told; those that had are not
    waited for."""
    await clear_of_midnight(redis)
    asked = demand(tenant)
    call = context(asked)
    await admissions.admit(asked)
    await ledger.record(context(asked, path="1"), Execution("1/a", "small", 1, 0))
    await ledger.close(call, ["1", "2", "3"])
    assert await tokens(redis, tenant) == [1, 149]
    await ledger.record(context(asked, path="2.1"), Execution("2.1/a", "small", 1, 0))
    await ledger.record(context(asked, path="31"), Execution("31/a", "small", 1, 0))
    assert await tokens(redis, tenant) == [3, 147]
    await ledger.record(context(asked, path="3"), Execution("3/a", "small", 1, 0))
    assert await tokens(redis, tenant) == [4, 0]


async def test_a_settled_call_is_known_for_a_while(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """An open reservation cannot be evicted; a settled one stays a quarter of an hour, and refuses what comes again."""
    await clear_of_midnight(redis)
    asked = demand(tenant)
    key = LedgerKeys(tenant).call(asked.call_id)
    await admissions.admit(asked)
    ledger.begin(context(asked), "/1")
    assert await redis.pttl(key) == -1
    for _ in range(2):
        await ledger.record(context(asked), Execution("/1", "small", 5, 5))
        await ledger.close(context(asked), [])
    assert await tokens(redis, tenant) == [10, 0]
    assert 800_000 < await redis.pttl(key) <= 900_000
    assert await redis.xlen(LedgerKeys(tenant).records) == 1


async def test_a_refund_gives_everything_back(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """A call that never began leaves nothing reserved, however often it is refunded."""
    await clear_of_midnight(redis)
    asked = demand(tenant)
    await admissions.admit(asked)
    admissions.refund(tenant, asked.call_id)
    admissions.refund(tenant, asked.call_id)
    await admissions.aclose(10.0)
    assert await tokens(redis, tenant) == [0, 0]
    assert await redis.zcard(LedgerKeys(tenant).leases) == 0


async def tokens(redis: Redis, tenant: str) -> list[int]:
    """Used and reserved tokens of the tenant today."""
    found = await sums(redis, tenant, await today(redis))
    return [found.get("tenant:tokens:used", 0), found.get("tenant:tokens:reserved", 0)]
