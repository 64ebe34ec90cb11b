"""Work beside the calls ends when it is told to."""

from __future__ import annotations

import asyncio

from libs.rpc.beside import beside, end


async def test_work_ends_with_the_block() -> None:
    """It runs while entered, and is over afterwards."""
    states: list[str] = []

    async def work() -> None:
        states.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("over")

    async with beside(work()):
        await asyncio.sleep(0)
        assert states == ["begun"]
    assert states == ["begun", "over"]


async def test_a_lost_cancel_is_not_waited_for() -> None:
    """A task that takes its first cancel for something else is cancelled again."""

    async def deaf_once() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    await end(task)
    assert task.cancelled()
