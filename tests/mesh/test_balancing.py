"""Least request: a replica that is slow gets few calls, where turns would give it as many as the others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.mesh.calls import Caller, many
from tests.mesh.running import RunningMesh, resume

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

SLOW = "inference-3"
HALTED_S, RUNNING_S = 0.5, 0.02
CALLS = 300
FAR_BELOW_A_THIRD = 0.2
"""Where both replicas that are looked at are the slow one, it is chosen all the same: a ninth of the calls."""
ABOUT_A_THIRD = 0.04


@asynccontextmanager
async def slowed(mesh: RunningMesh, part: str) -> AsyncIterator[None]:
    """The part's process runs for a moment now and then while it is entered."""
    pid = mesh.part(part).pid
    assert pid

    async def halt_and_resume() -> None:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(HALTED_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(RUNNING_S)

    task = asyncio.create_task(halt_and_resume())
    try:
        yield
    finally:
        task.cancel()
        resume(pid)


async def share_of_the_slow(mesh: RunningMesh, caller: Caller) -> float:
    """Of calls to three replicas."""
    before = mesh.arrived("inference")
    async with slowed(mesh, SLOW):
        load = await many(caller.list_models, CALLS)
    assert load.failures == []
    arrived = mesh.arrived("inference") - before
    assert sum(arrived.values()) >= CALLS
    return arrived[SLOW] / sum(arrived.values())


async def test_a_slow_replica_gets_few_calls(mesh: RunningMesh, caller: Caller) -> None:
    """With least request its share is far below a third; in turns, which takes effect at once, it is a third."""
    by_least_request = await share_of_the_slow(mesh, caller)
    await mesh.change("traffic.yaml", ("simple: LEAST_REQUEST", "simple: ROUND_ROBIN"))
    in_turns = await share_of_the_slow(mesh, caller)
    print(f"share of the slow replica: {by_least_request:.2f} by least request, {in_turns:.2f} in turns")
    assert by_least_request < FAR_BELOW_A_THIRD
    assert abs(in_turns - 1 / 3) < ABOUT_A_THIRD
