"""Rate limits, over the real store."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from libs.ledger.keys import LedgerKeys
from libs.store.together import Together
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.clock import ManualClock
from services.gateway.adapters.tests.demands import budgets, demand, limits, sums, today
from services.gateway.ports import Outcome

NOON_MS = 1_800_014_400_000


async def test_the_nearest_limit_is_told(admissions: RedisAdmissions, tenant: str) -> None:
    """Each answer tells the limit of which least is left, and what is left after this call."""
    both = limits(tenant_minute=(3, 60), key_hour=(2, 3600))
    first = await admissions.admit(demand(tenant, limits=both))
    other = await admissions.admit(demand(tenant, limits=both, key="lee"))
    assert first.rate is not None and other.rate is not None
    assert (first.rate.limit, first.rate.remaining) == (2, 1)
    assert 3600 <= first.rate.reset_s <= 3660
    assert (other.rate.limit, other.rate.remaining) == (3, 1)
    assert 60 <= other.rate.reset_s <= 61


async def test_a_call_without_limits_is_told_of_none(admissions: RedisAdmissions, tenant: str) -> None:
    """A plan without a limit: there is nothing to tell, and nothing is counted."""
    verdict = await admissions.admit(demand(tenant))
    assert (verdict.outcome, verdict.rate) == (Outcome.ADMITTED, None)


async def test_a_refused_call_counts_nowhere(admissions: RedisAdmissions, tenant: str) -> None:
    """All or nothing: what one limit refuses does not count against the others, nor against budgets."""
    tight = limits(tenant_minute=(100, 60), key_minute=(1, 60))
    await admissions.admit(demand(tenant, limits=tight))
    refused = [await admissions.admit(demand(tenant, limits=tight)) for _ in range(5)]
    assert {Outcome.RATE_LIMITED} == {verdict.outcome for verdict in refused}
    assert {"key/minute"} == {verdict.refused_by for verdict in refused}
    assert {(1, 0)} == {(verdict.rate.limit, verdict.rate.remaining) for verdict in refused if verdict.rate}
    other = await admissions.admit(demand(tenant, limits=limits(tenant_minute=(100, 60)), key="lee"))
    assert other.rate is not None
    assert other.rate.remaining == 98


async def test_what_a_budget_refuses_counts_against_no_limit(admissions: RedisAdmissions, tenant: str) -> None:
    """A call that is refused for its budget leaves its limits as they were."""
    limited = limits(tenant_minute=(10, 60))
    refused = await admissions.admit(demand(tenant, limits=limited, budgets=budgets(tenant_day_tokens=0)))
    admitted = await admissions.admit(demand(tenant, limits=limited))
    assert refused.outcome == Outcome.BUDGET_EXHAUSTED
    assert admitted.rate is not None
    assert admitted.rate.remaining == 9


async def test_what_a_limit_refuses_reserves_nothing(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """Nothing is reserved, and no lease is there, for a call over its limit."""
    await admissions.admit(demand(tenant, limits=limits(tenant_minute=(0, 60)), budgets=budgets(tenant_day_tokens=9)))
    assert await sums(redis, tenant, await today(redis)) == {}
    assert await redis.zcard(LedgerKeys(tenant).leases) == 0


async def test_groups_are_limited_apart(admissions: RedisAdmissions, tenant: str) -> None:
    """A method group's limit is of that group alone, and of all the tenant's keys together."""
    search, answer = limits(search_minute=(1, 60)), limits(answer_minute=(1, 60))
    outcomes = [
        (await admissions.admit(demand(tenant, key=key, limits=limit, limit_group=group))).outcome
        for key in ("kim", "lee")
        for group, limit in (("search", search), ("answer", answer))
    ]
    assert outcomes == [Outcome.ADMITTED] * 2 + [Outcome.RATE_LIMITED] * 2


async def test_a_call_that_was_counted_is_not_counted_again(admissions: RedisAdmissions, tenant: str) -> None:
    """Whoever waited for an answer and comes again is neither counted nor refused by a limit."""
    full = limits(tenant_minute=(1, 60))
    await admissions.admit(demand(tenant, limits=full))
    again = await admissions.admit(demand(tenant, limits=full, counts=False))
    assert again.outcome == Outcome.ADMITTED


async def test_many_gateways_at_once_admit_exactly_the_limit(redis: Redis, tenant: str) -> None:
    """Four gateways with hundreds of calls at once admit as many as the limit says, to the call."""
    gateways = [RedisAdmissions(redis, Together(redis), timeout_s=30.0) for _ in range(4)]
    limited = limits(tenant_minute=(137, 3600))
    verdicts = await asyncio.gather(*(gateways[i % 4].admit(demand(tenant, limits=limited)) for i in range(400)))
    assert sum(verdict.outcome is Outcome.ADMITTED for verdict in verdicts) == 137


async def test_after_the_told_time_there_is_room(admissions: RedisAdmissions, tenant: str) -> None:
    """Retry-after is kept: a call after it is admitted, though refused ones came meanwhile."""
    limited = limits(tenant_second=(3, 1))
    while (refused := await admissions.admit(demand(tenant, limits=limited))).outcome is Outcome.ADMITTED:
        pass
    assert 0 < refused.retry_after_s <= 1.05
    await asyncio.sleep(refused.retry_after_s / 2)
    await admissions.admit(demand(tenant, limits=limited))
    await asyncio.sleep(refused.retry_after_s / 2)
    assert (await admissions.admit(demand(tenant, limits=limited))).outcome == Outcome.ADMITTED


async def test_a_limit_expires_with_its_window(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """Nothing of a tenant that calls no more stays: the key of a limit has an expiry."""
    await admissions.admit(demand(tenant, limits=limits(tenant_minute=(5, 60))))
    assert 0 < await redis.pttl(LedgerKeys(tenant).rate("tenant", 60)) <= 62_000


@pytest.mark.parametrize("seed", range(4))
async def test_no_window_ever_holds_more_than_its_limit(
    redis: Redis, admissions: RedisAdmissions, tenant: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whenever the calls come: never more than the limit within any window, a call counts for at most a 60th longer,
    and there is room after the told time, not before."""
    clock = ManualClock(redis, monkeypatch, tenant)
    chance = random.Random(seed)
    limit, window_ms = chance.choice([(1, 60_000), (7, 60_000), (20, 1_000), (9, 7_000)])
    limited = limits(tenant_window=(limit, window_ms // 1000))
    now_ms = NOON_MS + chance.randrange(window_ms)
    admitted: list[int] = []
    for _ in range(250):
        now_ms += round(chance.choice([0, 0.001, 0.02, 0.1, 0.5, 1.02, 1.5]) * window_ms * chance.random())
        await clock.set_ms(now_ms)
        verdict = await admissions.admit(demand(tenant, limits=limited, worst=None))
        within = sum(now_ms - window_ms < at for at in admitted)
        surely = sum(now_ms - window_ms - window_ms / 60 <= at for at in admitted)
        assert verdict.rate is not None
        if verdict.outcome is Outcome.ADMITTED:
            assert within < limit
            admitted.append(now_ms)
            assert limit - surely - 1 <= verdict.rate.remaining <= limit - within - 1
        else:
            assert surely >= limit
            wait_ms = round(verdict.retry_after_s * 1000)
            await clock.set_ms(now_ms + wait_ms - 1)
            assert (await admissions.admit(demand(tenant, limits=limited, worst=None))).outcome == Outcome.RATE_LIMITED
            now_ms += wait_ms
            await clock.set_ms(now_ms)
            assert (await admissions.admit(demand(tenant, limits=limited, worst=None))).outcome == Outcome.ADMITTED
            admitted.append(now_ms)
    assert await redis.hlen(LedgerKeys(tenant).rate("tenant", window_ms // 1000)) <= 64


async def test_a_clock_that_steps_back_forgets_no_call(
    redis: Redis, admissions: RedisAdmissions, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Redis' own clock is set back the calls before it still count, and no call counts longer than a window after
    it has caught up."""
    clock = ManualClock(redis, monkeypatch, tenant)
    limited = limits(tenant_minute=(2, 60))
    outcomes = []
    for now_ms in (NOON_MS, NOON_MS - 30_000, NOON_MS - 20_000, NOON_MS + 61_000, NOON_MS + 61_000):
        await clock.set_ms(now_ms)
        outcomes.append((await admissions.admit(demand(tenant, limits=limited))).outcome)
    assert outcomes == [Outcome.ADMITTED, Outcome.ADMITTED, Outcome.RATE_LIMITED, Outcome.ADMITTED, Outcome.ADMITTED]
