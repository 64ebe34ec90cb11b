"""Answers that are given again, over the real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from libs.ledger.keys import LedgerKeys
from libs.store.redis import connect
from libs.store.stamps import MODELS, tenant_stamps
from libs.store.together import Together
from libs.testing.eventually import eventually
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.kept_answers import RedisKeptAnswers
from services.gateway.adapters.tests.demands import OwnRedis, budgets, demand, limits, look
from services.gateway.ports import KeptAnswer, Outcome

NAME = "an answer"


@pytest.fixture
def kept(redis: Redis) -> RedisKeptAnswers:
    """Those of one gateway."""
    return RedisKeptAnswers(Together(redis))


@pytest.fixture
async def lost(own_redis: OwnRedis) -> AsyncIterator[RedisKeptAnswers]:
    """Those of a gateway whose Redis is gone."""
    own_redis.kill()
    async with connect(own_redis.url) as redis:
        yield RedisKeptAnswers(Together(redis))


async def test_a_kept_answer_is_given(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """A miss, then a hit with the very bytes, its age and the models that it depends on; it reserves nothing."""
    body = bytes(range(256))
    first = await admissions.admit(demand(tenant, look=look(NAME)))
    await kept.keep(tenant, NAME, body, {"collection/guides": "", "model/embed": "3"}, 60.0)
    second = await admissions.admit(demand(tenant, look=look(NAME), budgets=budgets(tenant_day_tokens=0)))
    assert first.outcome is Outcome.ADMITTED
    assert second.outcome is Outcome.ANSWERED
    assert second.answer is not None
    assert second.answer == KeptAnswer(body, second.answer.age_s, {"model/embed": "3"})
    assert 0 <= second.answer.age_s < 60


async def test_an_empty_answer_is_one(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """A message without fields has no bytes."""
    await kept.keep(tenant, NAME, b"", {}, 60.0)
    verdict = await admissions.admit(demand(tenant, look=look(NAME)))
    assert verdict.answer is not None
    assert (verdict.answer.body, verdict.answer.model_stamps) == (b"", {})


async def test_a_hit_counts_against_limits(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """A call that is answered from what is kept is a call."""
    await kept.keep(tenant, NAME, b"body", {}, 60.0)
    one = limits(tenant_minute=(1, 60))
    outcomes = [(await admissions.admit(demand(tenant, look=look(NAME), limits=one))).outcome for _ in range(2)]
    assert outcomes == [Outcome.ANSWERED, Outcome.RATE_LIMITED]


async def test_a_write_makes_older_answers_unreachable(
    redis: Redis, admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str
) -> None:
    """As soon as a stamp is another one the answer is not given, stale looks included; nor by one that came or went."""
    outcomes = []
    for stamps, depends in (({"collection/a": "1"}, "1"), ({"collection/a": "2"}, "1"), ({}, "1"), ({}, "")):
        await redis.delete(tenant_stamps(tenant))
        for field, stamp in stamps.items():
            await together_set(redis, tenant, field, stamp)
        await kept.keep(tenant, NAME, b"body", {"collection/a": depends}, 60.0)
        for stale in (False, True):
            asked = demand(tenant, look=look(NAME, stale=stale, leads=False))
            outcomes.append((await admissions.admit(asked)).outcome)
    hit, miss = Outcome.ANSWERED, Outcome.ADMITTED
    assert outcomes == [hit, hit, miss, miss, miss, miss, hit, hit]


async def together_set(redis: Redis, tenant: str, field: str, stamp: str) -> None:
    await Together(redis).send("HSET", tenant_stamps(tenant), field, stamp)


async def test_models_stamps_come_with_a_look(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """The stamps of all models as they are now, on each look, and only then."""
    await Together(redis).send("HSET", MODELS, "model/embed", "3")
    with_look = await admissions.admit(demand(tenant, look=look(NAME)))
    without = await admissions.admit(demand(tenant))
    assert with_look.model_stamps is not None
    assert with_look.model_stamps["model/embed"] == "3"
    assert without.model_stamps is None


async def test_an_answer_has_its_time(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """After its time only a stale look finds it; a caller's own bound on age is kept before that."""
    await kept.keep(tenant, NAME, b"body", {}, 0.05)

    async def past() -> bool:
        asked = demand(tenant, look=look(NAME, leads=False))
        return (await admissions.admit(asked)).outcome is Outcome.ADMITTED

    await eventually(past)
    stale = await admissions.admit(demand(tenant, look=look(NAME, stale=True)))
    assert stale.outcome is Outcome.ANSWERED
    await kept.keep(tenant, "other", b"body", {}, 60.0)

    async def too_old() -> bool:
        asked = demand(tenant, look=look("other", max_age_s=0, leads=False))
        return (await admissions.admit(asked)).outcome is Outcome.ADMITTED

    await eventually(too_old)
    assert (await admissions.admit(demand(tenant, look=look("other")))).outcome is Outcome.ANSWERED


async def test_tenants_do_not_share_answers(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """The same question of another tenant is another question."""
    await kept.keep(tenant, NAME, b"body", {}, 60.0)
    assert (await admissions.admit(demand(f"{tenant}'", look=look(NAME)))).outcome is Outcome.ADMITTED


async def test_one_call_makes_an_answer(redis: Redis, kept: RedisKeptAnswers, tenant: str) -> None:
    """Of equal calls at once, at several gateways, one makes the answer, the others wait for it, and all have it."""
    gateways = [RedisAdmissions(redis, Together(redis), timeout_s=30.0) for _ in range(3)]
    asked = [demand(tenant, look=look(NAME)) for _ in range(30)]
    verdicts = await asyncio.gather(*(gateways[i % 3].admit(one) for i, one in enumerate(asked)))
    assert sorted(verdict.outcome.value for verdict in verdicts) == ["admitted"] + ["wait"] * 29
    elsewhere = RedisKeptAnswers(Together(redis))
    waiting = [asyncio.create_task(where.wait(tenant, NAME, 30.0)) for where in (kept, kept, elsewhere)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    await kept.keep(tenant, NAME, b"body", {}, 60.0)
    await asyncio.wait_for(asyncio.gather(*waiting), 10.0)
    again = [await gateways[0].admit(demand(tenant, look=look(NAME), counts=False)) for _ in range(2)]
    assert {verdict.outcome for verdict in again} == {Outcome.ANSWERED}


async def test_who_makes_an_answer_does_not_wait_for_itself(admissions: RedisAdmissions, tenant: str) -> None:
    """The call that others wait for may ask once more."""
    leader = demand(tenant, look=look(NAME), worst=None)
    assert [(await admissions.admit(leader)).outcome for _ in range(2)] == [Outcome.ADMITTED] * 2


async def test_who_gives_up_lets_another_one_try(
    admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str
) -> None:
    """Those who wait are woken when no answer comes, and the next call makes it; nobody else's flight is ended."""
    leader, follower = demand(tenant, look=look(NAME)), demand(tenant, look=look(NAME))
    await admissions.admit(leader)
    await kept.give_up(tenant, NAME, follower.call_id)
    assert (await admissions.admit(follower)).outcome is Outcome.WAIT
    waiting = asyncio.create_task(kept.wait(tenant, NAME, 30.0))
    await kept.give_up(tenant, NAME, leader.call_id)
    await asyncio.wait_for(waiting, 10.0)
    assert (await admissions.admit(follower)).outcome is Outcome.ADMITTED


async def test_a_leader_that_vanishes_is_succeeded(admissions: RedisAdmissions, tenant: str) -> None:
    """A gateway that dies while it makes an answer holds the others up for its flight's time, not longer."""
    await admissions.admit(demand(tenant, look=look(NAME, flight_s=0.1)))

    async def next_one() -> bool:
        return (await admissions.admit(demand(tenant, look=look(NAME, flight_s=60.0)))).outcome is Outcome.ADMITTED

    await eventually(next_one)


async def test_waiting_is_bounded(admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str) -> None:
    """Who waits for an answer that does not come goes on after its time, alone, and leaves nothing behind."""
    await admissions.admit(demand(tenant, look=look(NAME)))
    longer = asyncio.create_task(kept.wait(tenant, NAME, 60.0))
    async with asyncio.timeout(10.0):
        await kept.wait(tenant, NAME, 0.12)
        await kept.wait(tenant, NAME, 0.0)
    assert not longer.done()
    longer.cancel()
    await asyncio.wait([longer])
    assert kept.waited_for == 0


async def test_what_is_refused_by_a_budget_makes_no_answer(admissions: RedisAdmissions, tenant: str) -> None:
    """A call that may not be made does not become the one that others wait for."""
    await admissions.admit(demand(tenant, look=look(NAME), budgets=budgets(tenant_day_tokens=0)))
    assert (await admissions.admit(demand(tenant, look=look(NAME)))).outcome is Outcome.ADMITTED


async def test_a_large_answer_is_not_kept(
    redis: Redis, admissions: RedisAdmissions, kept: RedisKeptAnswers, tenant: str
) -> None:
    """An entry over the bound is not written, and holds nobody up."""
    await admissions.admit(demand(tenant, look=look(NAME)))
    await kept.keep(tenant, NAME, bytes(256 * 1024 + 1), {}, 60.0)
    keys = LedgerKeys(tenant)
    assert await redis.exists(keys.answer(NAME), keys.flight(NAME)) == 0


async def test_a_tenants_answers_are_bounded(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """What is over a tenant's bound is not kept, and holds nobody up; another tenant has room."""
    kept = RedisKeptAnswers(Together(redis), max_tenant_bytes=250)
    await admissions.admit(demand(tenant, look=look("c")))
    for name in "abc":
        await kept.keep(tenant, name, bytes(100), {}, 60.0)
    await kept.keep(f"{tenant} 2", "c", bytes(100), {}, 60.0)
    keys = LedgerKeys(tenant)
    assert [await redis.exists(keys.answer(name)) for name in "abc"] == [1, 1, 0]
    assert await redis.exists(keys.flight("c")) == 0
    assert await redis.exists(LedgerKeys(f"{tenant} 2").answer("c")) == 1
    assert 3_650_000 < await redis.pttl(keys.kept_bytes) <= 3_660_000


async def test_an_entry_expires(redis: Redis, kept: RedisKeptAnswers, tenant: str) -> None:
    """What is kept may be evicted: it has an expiry, its time and an hour."""
    await kept.keep(tenant, NAME, b"body", {}, 60.0)
    assert 3_650_000 < await redis.pttl(LedgerKeys(tenant).answer(NAME)) <= 3_660_000


async def test_a_store_that_is_down_keeps_nothing(lost: RedisKeptAnswers, tenant: str) -> None:
    """Nothing raises, and nobody waits."""
    async with asyncio.timeout(10.0):
        await lost.keep(tenant, NAME, b"body", {}, 60.0)
        await lost.give_up(tenant, NAME, "call")
        await lost.wait(tenant, NAME, 30.0)
