"""Admissions and the ledger while Redis is slow, down, killed and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from libs.errors.errors import Reason, UnavailableError
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.store.redis import connect
from libs.store.together import Together
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.demands import (
    OwnRedis,
    budgets,
    clear_of_midnight,
    context,
    demand,
    look,
    records,
    sums,
)
from services.gateway.adapters.tests.demands import today as day_of
from services.gateway.ports import Demand, Outcome


@dataclass(frozen=True)
class Site:
    """A gateway and a service over a server that the test may stop."""

    server: OwnRedis
    redis: Redis
    admissions: RedisAdmissions
    ledger: RedisLedger

    async def tokens(self, tenant: str) -> tuple[int, int]:
        """Used and reserved today."""
        found = await sums(self.redis, tenant, await day_of(self.redis))
        return found.get("tenant:tokens:used", 0), found.get("tenant:tokens:reserved", 0)

    async def nothing_reserved(self, tenant: str) -> bool:
        try:
            return (await self.tokens(tenant))[1] == 0
        except OSError:
            return False


@pytest.fixture
async def site(own_redis: OwnRedis) -> AsyncIterator[Site]:
    """With short timeouts: the server is to be slower than they are."""
    async with connect(own_redis.url, timeout_s=2.0) as redis:
        site = Site(
            own_redis, redis, RedisAdmissions(redis, Together(redis), timeout_s=2.0), RedisLedger(redis, within_s=0.2)
        )
        await clear_of_midnight(redis)
        yield site
        await site.ledger.aclose(0.1)
        await site.admissions.aclose(0.1)


async def know_script_and_prices(admissions: RedisAdmissions, tenant: str) -> None:
    """From here on an admission of the tenant is one script, and reserves."""
    asked = demand(tenant)
    await admissions.admit(asked)
    admissions.refund(tenant, asked.call_id)
    await eventually(lambda: admissions.waiting == 0)


async def test_a_slow_redis_is_unavailable_and_nothing_stays_reserved(site: Site, tenant: str) -> None:
    """Redis stops answering: admissions say so within their timeout; the scripts run when it goes on, and what they
    reserved is given back, whichever of the two comes first."""
    await know_script_and_prices(site.admissions, tenant)
    site.server.pause()
    answers = await asyncio.gather(
        *(site.admissions.admit(demand(tenant, budgets=budgets(tenant_day_tokens=10_000))) for _ in range(40)),
        return_exceptions=True,
    )
    site.server.resume()
    assert {(UnavailableError, Reason.DEPENDENCY_UNAVAILABLE, "redis", 1.0)} == {
        (type(error), error.reason, error.metadata["dependency"], error.retry_after_s)
        for error in answers
        if isinstance(error, UnavailableError)
    }
    assert len([answer for answer in answers if isinstance(answer, UnavailableError)]) == 40
    await eventually(lambda: site.admissions.waiting == 0)
    await eventually(lambda: site.nothing_reserved(tenant))
    assert await site.redis.zcard(LedgerKeys(tenant).leases) == 0
    assert (await site.admissions.admit(demand(tenant))).outcome == Outcome.ADMITTED


async def test_a_refund_that_comes_first_keeps_the_call_out(site: Site, tenant: str) -> None:
    """The admission of a call that was refunded reserves nothing."""
    asked = demand(tenant)
    site.admissions.refund(tenant, asked.call_id)
    await eventually(lambda: site.admissions.waiting == 0)
    with pytest.raises(UnavailableError):
        await site.admissions.admit(asked)
    assert await site.nothing_reserved(tenant)


async def test_callers_that_leave_are_refunded(site: Site, tenant: str) -> None:
    """Callers that are cancelled while they wait leave nothing reserved, nor the making of an answer to nobody. Whoever
    makes an answer already still does."""
    together = Together(site.redis, max_batch=200, max_under_way=1)
    admissions = RedisAdmissions(site.redis, together, timeout_s=10.0)
    await know_script_and_prices(admissions, tenant)
    await admissions.admit(demand(tenant, worst=None, look=look("7")))
    site.server.pause()
    callers = [asyncio.create_task(admissions.admit(demand(tenant, look=look(str(i))))) for i in range(50)]
    for turns in range(50):
        await asyncio.sleep(0)
        callers[turns].cancel()
    assert all(
        isinstance(left, asyncio.CancelledError) for left in await asyncio.gather(*callers, return_exceptions=True)
    )
    site.server.resume()
    await together.send("PING")  # One pipeline at a time: the admissions that were sent are carried out before it.
    await eventually(lambda: admissions.waiting == 0)
    await eventually(lambda: site.nothing_reserved(tenant))
    assert await flights(site, tenant) == ["7"]
    await admissions.aclose(1.0)


async def flights(site: Site, tenant: str) -> list[str]:
    names = [str(number) for number in range(50)]
    makers = await site.redis.mget([LedgerKeys(tenant).flight(name) for name in names])
    return [name for name, maker in zip(names, makers, strict=True) if maker]


async def test_a_killed_redis_loses_no_record_and_no_refund(site: Site, tenant: str) -> None:
    """Redis is killed in the middle of records, closes and refunds: each is told until it is written."""
    asked = [demand(tenant) for _ in range(30)]
    for one in asked:
        await site.admissions.admit(one)
    telling = [asyncio.create_task(tell(site, one, number)) for number, one in enumerate(asked)]
    await asyncio.sleep(0)
    site.server.kill()
    with pytest.raises(UnavailableError):
        await site.admissions.admit(demand(tenant))
    await asyncio.gather(*telling)
    assert site.ledger.waiting > 0
    await site.server.restart()
    await eventually(lambda: site.ledger.waiting == 0 and site.admissions.waiting == 0)
    assert await site.tokens(tenant) == (20 * 7, 0)


async def tell(site: Site, asked: Demand, number: int) -> None:
    """Two thirds of the calls use 7 tokens; the others never began."""
    if number % 3 == 0:
        site.admissions.refund(asked.tenant, asked.call_id)
        return
    call = context(asked)
    site.ledger.begin(call, "/1")
    await site.ledger.record(call, Execution("/1", "small", 3, 4))
    await site.ledger.close(call, [])


async def test_the_scripts_are_known_again_after_they_were_forgotten(site: Site, tenant: str) -> None:
    """A Redis that has forgotten the scripts costs a round trip, and nothing else."""
    asked = demand(tenant)
    await site.admissions.admit(asked)
    await site.redis.script_flush()
    await site.admissions.admit(demand(tenant, worst=None))
    await site.redis.script_flush()
    await site.ledger.record(context(asked), Execution("/1", "small", 1, 1))
    await site.ledger.close(context(asked), [])
    await eventually(lambda: site.ledger.waiting == 0)
    assert await site.tokens(tenant) == (2, 0)


async def test_calls_that_went_on_without_the_ledger_are_charged(site: Site, tenant: str) -> None:
    """A call without budgets that was let through while Redis was down has no reservation: what it used is charged to
    this day, once. One with an allowance had one, which is settled: what it tells is counted as late."""
    unreserved, settled = demand(tenant), demand(tenant)
    late = metrics.value("weft_ledger_late_total")
    for _ in range(2):
        await site.ledger.record(context(unreserved), Execution("/1", "small", 3, 4))
        await site.ledger.record(context(settled, 100), Execution("/1", "small", 3, 4))
        await site.ledger.close(context(unreserved), [])
    await eventually(lambda: site.ledger.waiting == 0)
    assert metrics.value("weft_ledger_late_total") - late == 2
    assert await site.tokens(tenant) == (7, 0)
    [record] = await records(site.redis, tenant)
    assert (record["key"], record["method"], record["execution"]) == ("kim", "", "/1")


async def test_stopping_writes_what_waits(site: Site, tenant: str) -> None:
    """A process that ends writes first what it was told, within its time."""
    asked = demand(tenant)
    await site.admissions.admit(asked)
    site.server.pause()
    await site.ledger.record(context(asked), Execution("/1", "small", 3, 4))
    await site.ledger.close(context(asked), [])
    assert site.ledger.waiting == 2
    site.server.resume()
    await site.ledger.aclose(10.0)
    assert await site.tokens(tenant) == (7, 0)
