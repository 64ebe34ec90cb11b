"""The ledger's own promises, over a real Redis. Reservations are tested at the gateway, which makes them."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from libs.auth.context import CallContext
from libs.errors.errors import UnavailableError
from libs.ledger.accounts import Execution
from libs.ledger.keys import SWEEPING, TENANTS, LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.ledger.sweeper import LedgerSweeper
from libs.store.redis import connect
from libs.store.together import Together
from libs.telemetry import metrics


def call(tenant: str, allowance: int | None = None) -> CallContext:
    return CallContext(tenant, "kim", str(uuid.uuid4()), "request", "normal", 0.0, allowance_tokens=allowance)


async def test_a_record_says_everything(redis: Redis, tenant: str) -> None:
    """An entry of the stream has the documented fields, all of them."""
    ledger, made = RedisLedger(redis, within_s=10.0), call(tenant)
    await ledger.record(made, Execution("1/a", "small", 3, 4))
    [record] = await records(redis, tenant)
    assert record == {
        "call": made.call_id,
        "execution": "1/a",
        "key": "kim",
        "method": "",
        "model": "small",
        "input": "3",
        "output": "4",
        "cost": "0",
        "day": record["day"],
    }


async def test_what_is_told_again_is_charged_once(redis: Redis, tenant: str) -> None:
    """The same record from many processes at once, before and after the close, is one."""
    ledgers, made = [RedisLedger(redis, within_s=10.0) for _ in range(5)], call(tenant)
    told = Execution("/1", "small", 3, 4)
    await asyncio.gather(*(ledger.record(made, told) for ledger in ledgers for _ in range(3)))
    await ledgers[0].close(made, [])
    await ledgers[1].record(made, told)
    assert len(await records(redis, tenant)) == 1
    assert await usage(redis, tenant) == [b"1", b"3", b"4"]


async def test_negative_tokens_are_none(redis: Redis, tenant: str) -> None:
    """Nobody earns tokens."""
    await RedisLedger(redis, within_s=10.0).record(call(tenant), Execution("/1", "small", -3, -4))
    [record] = await records(redis, tenant)
    assert (record["input"], record["output"]) == ("0", "0")


async def test_a_record_without_its_reservation_is_late(redis: Redis, tenant: str) -> None:
    """A call with an allowance had a reservation; when that is gone, what it tells is counted, not charged: it was."""
    before = metrics.value("weft_ledger_late_total")
    ledger, made = RedisLedger(redis, within_s=10.0), call(tenant, 100)
    ledger.begin(made, "/1")
    await ledger.record(made, Execution("/1", "small", 3, 4))
    await ledger.close(made, ["1"])
    assert await records(redis, tenant) == []
    assert metrics.value("weft_ledger_late_total") - before == 1
    assert await redis.exists(LedgerKeys(tenant).call(made.call_id)) == 0


async def test_a_reservation_that_redis_lost_costs_no_record(redis: Redis, tenant: str) -> None:
    """A call that is under way is charged though Redis has lost what was reserved for it; once, too."""
    seconds, _ = await redis.time()
    ledger, made = RedisLedger(redis, within_s=10.0), replace(call(tenant, 100), deadline_s=seconds + 30.5)
    for _ in range(2):
        await ledger.record(made, Execution("/1", "small", 3, 4))
    assert await usage(redis, tenant) == [b"1", b"3", b"4"]


async def test_the_stream_is_bounded(redis: Redis, tenant: str) -> None:
    """Of a tenant's records about the last 200,000 are kept."""
    keys = LedgerKeys(tenant)
    fill = "for number = 1, 201000 do redis.call('XADD', KEYS[1], '1-' .. number, 'call', number) end"
    await Together(redis).send("EVAL", fill, 1, keys.records)
    await RedisLedger(redis, within_s=10.0).record(call(tenant), Execution("/1", "small", 3, 4))
    assert 200_000 <= await redis.xlen(keys.records) <= 200_200


async def test_without_redis_nothing_raises_and_nothing_waits_long(tenant: str) -> None:
    """A record returns within its time, and is told when Redis is there; a ledger that stops says what it lost."""
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        ledger, made = RedisLedger(nowhere, within_s=0.05), call(tenant)
        async with asyncio.timeout(10.0):
            ledger.begin(made, "/1")
            await ledger.record(made, Execution("/1", "small", 3, 4))
            await ledger.close(made, [])
            assert ledger.waiting == 3
            await ledger.aclose(0.05)
        assert ledger.waiting == 0


async def test_the_sweeper_goes_on_when_redis_does_not(tenant: str) -> None:
    """A sweep that does not reach Redis is left out; the next one comes."""
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        sweeper = LedgerSweeper(Together(nowhere), every_s=0.001)
        running = asyncio.create_task(sweeper.run())
        done, _ = await asyncio.wait([running], timeout=0.1)
        assert not done
        running.cancel()
        await asyncio.wait([running])
        try:
            await sweeper.sweep(tenant)
        except UnavailableError:
            return
    raise AssertionError("a sweep without Redis is unavailable")


async def test_all_tenants_are_swept(redis: Redis, tenant: str) -> None:
    """Every tenant that is written down is swept, of hundreds; what is left of a lease without its call goes."""
    tenants = [f"{tenant} {number}" for number in range(250)]
    together = Together(redis)
    await together.send("SADD", TENANTS, *tenants)
    await asyncio.gather(*(together.send("ZADD", LedgerKeys(each).leases, 1, "gone") for each in tenants))
    assert await LedgerSweeper(Together(redis)).sweep_all() >= 250
    assert await redis.exists(*(LedgerKeys(each).leases for each in tenants)) == 0


async def test_one_of_many_sweepers_sweeps(redis: Redis, tenant: str) -> None:
    """Of several gateways one sweeps in each interval, whichever comes first."""
    together = Together(redis)
    await together.send("DEL", SWEEPING)
    await together.send("SADD", TENANTS, tenant)
    sweepers = [LedgerSweeper(Together(redis), every_s=60.0) for _ in range(4)]
    assert sorted(await asyncio.gather(*(sweeper.sweep_if_due() for sweeper in sweepers))) == [False] * 3 + [True]
    assert 0 < await redis.pttl(SWEEPING) <= 60_000
    await together.send("DEL", SWEEPING)


async def records(redis: Any, tenant: str) -> list[dict[str, str]]:
    entries = await redis.xrange(LedgerKeys(tenant).records)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


async def usage(redis: Any, tenant: str) -> list[bytes]:
    """Executions and tokens, read and written, by the small model today."""
    [record] = await records(redis, tenant)
    fields = [f"kim|small||{what}" for what in ("executions", "input_tokens", "output_tokens")]
    found: list[bytes] = await redis.hmget(LedgerKeys(tenant).usage(0, record["day"]), fields)
    return found
