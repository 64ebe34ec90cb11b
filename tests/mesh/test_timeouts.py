"""Timeouts end unary calls and no streams; another try is made where it is safe, and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest

from libs.testing.eventually import eventually
from tests.mesh.calls import Call, Caller, Load
from tests.mesh.running import RunningMesh

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

WHOLE_TIMEOUT_S = 60.0
SHORT_S = 2
PIECES = 20
CALLS = 40
HEALTH_CHECKS = 8
"""At most so many are under way too: of two gateways, for four services."""
RAGS = ("rag", "rag-2")


async def shorten(mesh: RunningMesh) -> None:
    """All timeouts there are, and those of each try: the retries that are there stay as they are."""
    await mesh.rewrite("timeouts.yaml", r"timeout: \d+s\n", f"timeout: {SHORT_S}s\n")
    await mesh.rewrite(
        "timeouts.yaml",
        rf"(timeout: {SHORT_S}s\n +retries: \{{attempts: 2), ",
        rf"\1, perTryTimeout: {SHORT_S}s, ",
    )


async def test_streams_live_longer_than_any_timeout(mesh: RunningMesh, caller: Caller) -> None:
    """With two seconds for every unary call, and for every try of it, streams that take more, busy or silent, end well;
    a unary call that takes as long does not."""
    await shorten(mesh)
    await mesh.make_standard_slow(2 * SHORT_S)
    streams = [lambda: caller.infer_stream(PIECES), caller.stream_generate, caller.stream_answer]
    load, began = Load(), time.monotonic()
    await asyncio.gather(*(load.call(stream) for stream in streams))
    assert load.failures == []
    assert time.monotonic() - began > 2.5 * SHORT_S
    load = Load()
    await load.call(caller.generate)
    assert len(load.failures) == 1 and "DEADLINE_EXCEEDED" in load.failures[0], load


async def test_a_timeout_ends_what_hangs(mesh: RunningMesh, caller: Caller) -> None:
    """A call to a service that says nothing is given up after its timeout, not after its caller's patience."""
    await shorten(mesh)
    began = time.monotonic()
    with mesh.halted(*RAGS), pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.search()
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "upstream request timeout",
    )
    assert time.monotonic() - began < WHOLE_TIMEOUT_S / 2


async def lose_a_replica(mesh: RunningMesh, call: Call) -> Load:
    """Many calls that both of two replicas hold when one is killed and the other goes on."""
    load = Load()
    # One that died in a test before is not left out any more.
    await eventually(lambda: not mesh.ejected("rag"), within_s=60.0, every_s=0.2)
    with mesh.halted(*RAGS):
        calls = [asyncio.create_task(load.call(call)) for _ in range(CALLS)]

        def all_are_there() -> bool:
            there = mesh.under_way("rag")
            return sum(there.values()) >= CALLS and len(there) == len(RAGS) and min(there.values()) > HEALTH_CHECKS

        await eventually(all_are_there, within_s=20.0)
        restarts = mesh.kill("rag-2")
    await asyncio.gather(*calls)
    await mesh.eventually_serves("rag-2", restarts + 1)
    assert len(load.failures) + sum(load.good.values()) == CALLS
    return load


async def test_another_try_where_it_is_safe(mesh: RunningMesh, caller: Caller) -> None:
    """What reads, and costs nothing, is asked of another replica when the one that had it dies: no caller sees it."""
    load = await lose_a_replica(mesh, caller.get_collection)
    assert load.failures == []


@pytest.mark.parametrize("method", [Caller.create_collection, Caller.search])
async def test_no_other_try(mesh: RunningMesh, caller: Caller, method: Callable[[Caller], Call]) -> None:
    """What changes something, and what is charged, is not begun a second time: its caller is told so."""

    async def call() -> object:
        return await method(caller)  # type: ignore[misc]

    load = await lose_a_replica(mesh, call)
    assert load.failures and sum(load.good.values()), load
    assert {failure.split(":")[1].strip() for failure in load.failures} == {"UNAVAILABLE"}
