"""Commands that travel together, over a real Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from libs.errors.errors import Reason, UnavailableError
from libs.parts.processes import RunningPart
from libs.store.redis import connect, reached
from libs.store.tests.scripted import script
from libs.store.together import Together
from libs.testing.parts import REDIS_PASSWORD


async def test_commands_of_a_tick_travel_together(redis: Redis, name: str) -> None:
    """A hundred callers at once are answered each its own, with a few reads of the server's."""
    together = Together(redis, max_batch=25)
    await together.send("PING")
    before = await reads(redis)
    answers = await asyncio.gather(*(together.send("SET", f"{name}:{i}", i, "GET") for i in range(100)))
    again = await asyncio.gather(*(together.send("GET", f"{name}:{i}") for i in range(100)))
    assert answers == [None] * 100
    assert again == [str(i).encode() for i in range(100)]
    assert await reads(redis) - before < 40


async def test_what_comes_while_all_are_under_way_waits_for_the_next(redis: Redis, name: str) -> None:
    """More commands than fit into all pipelines are carried out all the same."""
    together = Together(redis, max_batch=3, max_under_way=2)
    answers = await asyncio.gather(*(together.send("INCR", name) for _ in range(100)))
    assert sorted(answers) == list(range(1, 101))


async def test_a_failing_command_fails_alone(redis: Redis, name: str) -> None:
    """An error is of the command that caused it; its neighbours are answered."""
    together = Together(redis)
    await together.send("SET", name, "text")
    before, failing, after = together.send("GET", name), together.send("INCR", name), together.send("STRLEN", name)
    with pytest.raises(ResponseError):
        await failing
    assert [await before, await after] == [b"text", 4]


async def test_a_cancelled_caller_lets_the_others_be(redis: Redis, name: str) -> None:
    """A caller that leaves before its command is sent sends none; one that leaves later is not waited for."""
    together = Together(redis)
    first, unsent, last = (together.send("INCR", name) for _ in range(3))
    unsent.cancel()
    await first
    assert await last == 2
    callers = [asyncio.create_task(waits(together, name)) for _ in range(20)]
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 10


async def waits(together: Together, name: str) -> Any:
    return await together.send("INCR", name)


async def test_no_more_than_the_bound_wait(own_redis: RunningPart) -> None:
    """While Redis says nothing, callers over the bound are told at once, and the others when its timeout is over."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{own_redis.address}/0", timeout_s=1.0) as redis:
        together = Together(redis, max_batch=5, max_waiting=10, max_under_way=2)
        await together.send("PING")
        os.kill(own_redis.pid, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(reached(together.send("PING"))) for _ in range(10)]
        with pytest.raises(UnavailableError):
            together.send("PING")
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in errors} == {UnavailableError}
        os.kill(own_redis.pid, signal.SIGCONT)
        assert await together.send("PING") in (True, b"PONG")


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    """Whoever calls is told which dependency is missing, and when to come again."""
    async with connect("redis://127.0.0.1:1/0") as redis:
        with pytest.raises(UnavailableError) as raised:
            await reached(Together(redis).send("PING"))
    error = raised.value
    assert (error.reason, error.metadata, error.retry_after_s) == (
        Reason.DEPENDENCY_UNAVAILABLE,
        {"dependency": "redis"},
        1.0,
    )


async def test_a_redis_without_room_is_unavailable(own_redis: RunningPart) -> None:
    """A server that takes no writes now is one to come back to, not an error of the caller's."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{own_redis.address}/0") as redis:
        await redis.config_set("maxmemory", "1")
        with pytest.raises(UnavailableError):
            await reached(Together(redis).send("SET", "key", "value"))
        with pytest.raises(UnavailableError):
            await script("return redis.call('SET', KEYS[1], '1')")(Together(redis), ["key"], [])


async def test_a_script_is_sent_when_redis_does_not_know_it(redis: Redis, name: str) -> None:
    """A script runs once for each call, whether Redis knows it or has forgotten it."""
    together = Together(redis)
    count = script(f"-- {name}\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [await count(together, [name], [2]), await count(together, [name], [3])] == [2, 5]
    await redis.script_flush()
    assert sorted(await asyncio.gather(*(count(together, [name], [1]) for _ in range(5)))) == [6, 7, 8, 9, 10]


async def test_a_script_that_fails_says_why(redis: Redis, name: str) -> None:
    """An error in a script is no outage."""
    with pytest.raises(ResponseError, match="no such"):
        await script("return redis.error_reply('no such thing')")(Together(redis), [name], [])


async def reads(redis: Any) -> int:
    return int((await redis.info("stats"))["total_reads_processed"])
