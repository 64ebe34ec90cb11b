"""What must be written, over a real Redis that comes and goes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from libs.parts.processes import RunningPart
from libs.parts.valkey import start_redis
from libs.store.outbox import Outbox
from libs.store.redis import connect
from libs.store.tests.scripted import script
from libs.telemetry import logs, metrics
from libs.testing.eventually import eventually
from libs.testing.logged import logged
from libs.testing.parts import REDIS_PASSWORD

PUSH = script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
ADD = script("return redis.call('SADD', KEYS[1], ARGV[1])")


async def test_scripts_run_in_their_order(redis: Redis, name: str) -> None:
    """Hundreds of scripts, put while others are on their way, run in the order in which they were put."""
    outbox = Outbox(redis, "test")
    for number in range(600):
        outbox.put(PUSH, [name], [number])
        if number % 50 == 0:
            await asyncio.sleep(0)
    await outbox.aclose(10.0)
    assert await listed(redis, name) == list(range(600))


async def test_the_answer_is_told(redis: Redis, name: str) -> None:
    """Whoever put a script may wait for what it returns."""
    outbox = Outbox(redis, "test")
    assert [await outbox.put(PUSH, [name], ["a"]), await outbox.put(PUSH, [name], ["b"])] == [1, 2]


async def test_a_redis_that_pauses_is_told_again(own_redis: RunningPart, name: str) -> None:
    """What was on its way when Redis stopped is told again, in its order, though it may have run."""
    async with connect(url(own_redis), timeout_s=1.0) as redis:
        outbox = Outbox(redis, "test")
        await outbox.put(PUSH, [name], [0])
        os.kill(own_redis.pid, signal.SIGSTOP)
        answers = [outbox.put(PUSH, [name], [number]) for number in range(1, 600)]  # more than a batch
        answers[3].cancel()
        done, _ = await asyncio.wait(answers, timeout=1.5)
        assert done == {answers[3]}
        assert len(outbox) == 599
        os.kill(own_redis.pid, signal.SIGCONT)
        await eventually(lambda: len(outbox) == 0)
        told = await listed(redis, name)
    assert set(told) == set(range(600))
    assert told[-599:] == list(range(1, 600))


async def test_a_killed_redis_is_told_when_it_is_back(own_redis: RunningPart, tmp_path: Path, name: str) -> None:
    """What Redis had answered is there after kill -9, and what it had not is told to the next one."""
    async with connect(url(own_redis), timeout_s=1.0) as redis:
        outbox = Outbox(redis, "test")
        for number in range(50):
            await outbox.put(ADD, [name], [number])
        os.kill(own_redis.pid, signal.SIGKILL)
        own_redis.process.wait()
        for number in range(50, 100):
            outbox.put(ADD, [name], [number])
        port = int(own_redis.address.rpartition(":")[2])
        again = await asyncio.to_thread(
            start_redis, tmp_path / "data", port, password=REDIS_PASSWORD, log=tmp_path / "redis.log"
        )
        try:
            await eventually(lambda: len(outbox) == 0)
            assert await count(redis, name) == 100
        finally:
            again.stop()


async def test_too_many_drop_the_oldest(own_redis: RunningPart, name: str) -> None:
    """Over its bound the oldest is dropped, logged and counted; the others are told."""
    before = metrics.value("weft_store_outbox_dropped_total", outbox="full")
    async with connect(url(own_redis), timeout_s=1.0) as redis:
        outbox = Outbox(redis, "full", limit=10)
        os.kill(own_redis.pid, signal.SIGSTOP)
        with logged() as lines:
            answers = [outbox.put(ADD, [name], [number]) for number in range(15)]
            assert [answer.cancelled() for answer in answers] == [True] * 5 + [False] * 10
            logs.flush()
            assert {(line["event"], line["outbox"]) for line in lines()} == {("outbox", "full")}
        os.kill(own_redis.pid, signal.SIGCONT)
        await asyncio.wait(answers)
        assert await members(redis, name) == set(range(5, 15))
    assert metrics.value("weft_store_outbox_dropped_total", outbox="full") - before == 5


async def test_what_redis_refuses_does_not_hold_up_the_rest(redis: Redis, name: str) -> None:
    """A script that can never run is dropped and counted; those behind it run."""
    before = metrics.value("weft_store_outbox_dropped_total", outbox="test")
    outbox = Outbox(redis, "test")
    refused = outbox.put(script("return redis.call('NO SUCH COMMAND')"), [name], [])
    assert await outbox.put(PUSH, [name], [1]) == 1
    assert refused.cancelled()
    assert metrics.value("weft_store_outbox_dropped_total", outbox="test") - before == 1


async def test_stopping_is_bounded(own_redis: RunningPart, name: str) -> None:
    """While Redis is down an outbox stops within its time, and says what is lost."""
    before = metrics.value("weft_store_outbox_dropped_total", outbox="stopped")
    async with connect(url(own_redis), timeout_s=1.0) as redis:
        outbox = Outbox(redis, "stopped")
        os.kill(own_redis.pid, signal.SIGSTOP)
        answers = [outbox.put(ADD, [name], [number]) for number in range(3)]
        async with asyncio.timeout(5.0):
            await outbox.aclose(0.1)
    assert all(answer.cancelled() for answer in answers)
    assert metrics.value("weft_store_outbox_dropped_total", outbox="stopped") - before == 3


def url(server: RunningPart) -> str:
    return f"redis://:{REDIS_PASSWORD}@{server.address}/0"


async def listed(redis: Any, name: str) -> list[int]:
    return [int(value) for value in await redis.lrange(name, 0, -1)]


async def members(redis: Any, name: str) -> set[int]:
    return {int(value) for value in await redis.smembers(name)}


async def count(redis: Any, name: str) -> int:
    return int(await redis.scard(name))
