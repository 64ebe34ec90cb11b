import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from libs.rpc.server import Component, running
from libs.testing.eventually import eventually
from libs.testing.serving import KEY
from tools.localmesh.health import Health

CHILD = """
import asyncio
from libs.rpc.server import Component, running
async def main():
    async with running(Component(), "127.0.0.1:0", bytes(32)) as server:
        print(server.address, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


class CheckOnly(health_pb2_grpc.HealthServicer):
    """As Triton: it knows no Watch."""

    def __init__(self) -> None:
        self.status: Any = pb.HealthCheckResponse.SERVING

    async def Check(self, request: pb.HealthCheckRequest, context: object) -> pb.HealthCheckResponse:
        return pb.HealthCheckResponse(status=self.status)


class Told:
    """What a `Health` told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bool, str]] = []

    def __call__(self, address: str, serves: bool, why: str) -> None:
        self.changes.append((address, serves, why))


@contextmanager
def child() -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.kill()
        process.wait()


async def test_a_process_that_stops_leaves_before_its_connection_ends() -> None:
    """NOT_SERVING is told at once, while the process still answers; and the server is not kept from stopping."""
    told = Told()
    health = Health(told)
    async with running(Component(), "127.0.0.1:0", KEY, grace_s=60.0) as server:
        health.follow([server.address])
        await eventually(lambda: health.serving)
        server.health.stop()
        await eventually(lambda: not health.serving)
        async with asyncio.timeout(20):
            await eventually(lambda: told.changes[-1] == (server.address, False, "it says that it does not serve"))
    await health.stop()


async def test_a_killed_process_leaves_and_its_successor_comes() -> None:
    """kill -9 is told as soon as the connection ends; a process at the same address that serves is back in."""
    told = Told()
    health = Health(told)
    with child() as (address, pid):
        health.follow([address])
        await eventually(lambda: health.serving == {address})
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not health.serving)
    async with running(Component(), address, KEY):
        await eventually(lambda: health.serving == {address})
    await health.stop()
    assert [serves for _, serves, _ in told.changes[:3]] == [True, False, True]


@pytest.mark.parametrize("way", ["says so", "ends"])
async def test_a_process_without_watch_is_asked(way: str) -> None:
    """Where Watch is not implemented, as by Triton, checks tell the same, and so does the connection's end."""
    servicer, told = CheckOnly(), Told()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    health = Health(told)
    health.follow([address])
    await eventually(lambda: health.serving == {address})
    if way == "ends":
        await server.stop(0)
        await eventually(lambda: not health.serving)
    else:
        servicer.status = pb.HealthCheckResponse.NOT_SERVING
        await eventually(lambda: not health.serving)
        servicer.status = pb.HealthCheckResponse.SERVING
        await eventually(lambda: health.serving == {address})
    await health.stop()
    await server.stop(0)


async def test_a_process_that_hangs_gets_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there and answers nothing leaves; it comes back when it answers again."""
    monkeypatch.setattr("tools.localmesh.health.PROBE_EVERY_S", 0.1)
    monkeypatch.setattr("tools.localmesh.health.HUNG_AFTER_S", 0.5)
    told = Told()
    health = Health(told)
    with child() as (address, pid):
        health.follow([address])
        await eventually(lambda: health.serving == {address})
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: not health.serving)
        assert "DEADLINE_EXCEEDED" in told.changes[-1][2]
        os.kill(pid, signal.SIGCONT)
        await eventually(lambda: health.serving == {address})
    await health.stop()


async def test_what_could_not_be_told_is_told_again() -> None:
    """A disk that is full for a moment makes nobody blind to a process for good."""
    told: list[bool] = []

    def full(address: str, serves: bool, why: str) -> None:
        told.append(serves)
        if told.count(serves) == 1:
            raise OSError("no space left on device")

    health = Health(full)
    async with running(Component(), "127.0.0.1:0", KEY) as server:
        health.follow([server.address])
        await eventually(lambda: told == [True, True])
        assert health.serving == {server.address}
    await eventually(lambda: told == [True, True, False, False])
    assert not health.serving
    await health.stop()


async def test_what_is_believed_serves_until_it_was_asked() -> None:
    """A controller that starts again keeps what was ready: until its own answer, or the want of one, comes."""
    health = Health(Told())
    async with running(Component(), "127.0.0.1:0", KEY) as server:
        gone = "127.0.0.1:1"
        health.follow([server.address, gone], [server.address, gone])
        assert health.serving == {server.address, gone}
        await eventually(lambda: health.serving == {server.address})
        health.follow([])
        assert health.serving == frozenset()
    await health.stop()
