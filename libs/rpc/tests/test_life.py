"""A service as a process: how it starts, what it logs, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from libs.testing.eventually import eventually
from libs.testing.serving import KEY, Served, calling, raw_unary

PYTHONPATH = os.pathsep.join(os.path.abspath(path) for path in sys.path)
INFER = "/inference.GRPCInferenceService/ModelInfer"


class Service:
    """An echo service under way. `lines` are its log lines so far."""

    def __init__(self, process: asyncio.subprocess.Process, gate: Path) -> None:
        self.process = process
        self.gate = gate
        self.lines: list[dict[str, Any]] = []

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(orjson.loads(line))

    def line(self, event: str) -> Any:
        return next((line for line in self.lines if line["event"] == event), None)


async def start(folder: Path, **settings: str) -> asyncio.subprocess.Process:
    key = folder / "context.key"
    key.write_text(KEY.hex())
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PYTHONPATH,
        "WEFT_ECHO_LISTEN": "127.0.0.1:0",
        "WEFT_ECHO_REDIS_URL": "redis://127.0.0.1:1/0",
        "WEFT_ECHO_CONTEXT_KEY_FILE": str(key),
        "WEFT_ECHO_GATE": str(folder / "gate"),
        **settings,
    }
    script = str(Path(__file__).with_name("echo.py"))
    return await asyncio.create_subprocess_exec(
        sys.executable, script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def echo(folder: Path, **settings: str) -> AsyncIterator[tuple[Service, Served]]:
    """A service that is ready."""
    process = await start(folder, **settings)
    service = Service(process, folder / "gate")
    reading = asyncio.create_task(service.read())
    try:
        first = await eventually(lambda: service.line("ready") or service.line("stuck"), within_s=30)
        yield service, Served(first.get("address", ""), KEY)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def no_longer_listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionError:
        return True
    return False


async def test_nothing_in_flight_is_cut(tmp_path: Path) -> None:
    """At SIGTERM health says NOT_SERVING, the call in flight is answered, what was built closes, and the exit code is
    0."""
    async with echo(tmp_path, WEFT_ECHO_GRACE_S="30") as (service, served), calling(served) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(pb.HealthCheckRequest())  # type: ignore[attr-defined]
        assert (await watch.read()).status == pb.HealthCheckResponse.SERVING
        call = raw_unary(channel, INFER)(b"hello")
        await eventually(lambda: service.line("begun"))
        service.process.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == pb.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await eventually(lambda: no_longer_listens(served.address))
        service.gate.touch()
        assert await call == b"hello"
        assert await asyncio.wait_for(service.process.wait(), 30) == 0
        await eventually(lambda: service.line("stopped"))
        assert [line["event"] for line in service.lines if line["event"] in ("stopping", "closed", "stopped")] == [
            "stopping",
            "closed",
            "stopped",
        ]


async def test_the_grace_period_ends(tmp_path: Path) -> None:
    """A call that outlives the grace period is cut, and the service ends all the same."""
    async with echo(tmp_path, WEFT_ECHO_GRACE_S="0.1") as (service, served), calling(served) as channel:
        call = raw_unary(channel, INFER)(b"hello")
        await eventually(lambda: service.line("begun"))
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        assert await asyncio.wait_for(service.process.wait(), 30) == 0


async def test_a_start_can_be_ended(tmp_path: Path) -> None:
    """A service that waits for something before it is ready ends at SIGTERM, with 0."""
    async with echo(tmp_path, WEFT_ECHO_STUCK="true") as (service, _):
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(service.process.wait(), 30) == 0


async def test_a_line_for_each_call(tmp_path: Path) -> None:
    """A call's log line has its ids, method, code and duration, and lines logged under it have the ids too."""
    async with echo(tmp_path) as (service, served), calling(served, "acme", request_id="r-1") as channel:
        service.gate.touch()
        parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        await raw_unary(channel, INFER)(b"secret", metadata=(parent,))
        line = await eventually(lambda: service.line("call"))
        begun = service.line("begun")
    assert begun is not None
    for found in (line, begun):
        assert (found["service"], found["level"]) == ("echo", "info")
        assert (found["tenant"], found["request_id"], found["method"]) == ("acme", "r-1", INFER)
        assert found["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
        assert found["call_id"]
    assert line["code"] == "OK"
    assert line["duration_ms"] > 0
    assert "secret" not in str(service.lines)


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A service whose address is taken ends with 2 and says which."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start(tmp_path, WEFT_ECHO_LISTEN=address)
        _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert f"cannot listen on {address}" in stderr.decode()


async def test_wrong_settings_are_all_named(tmp_path: Path) -> None:
    """A service with wrong settings ends with 2 and names each of them, before it opens anything."""
    process = await start(tmp_path, WEFT_ECHO_GRACE_S="-1", WEFT_ECHO_LISTN="127.0.0.1:1")
    stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, stdout) == (2, b"")
    assert "WEFT_ECHO_GRACE_S='-1'" in stderr.decode()
    assert "WEFT_ECHO_LISTN: there is no such setting; did you mean WEFT_ECHO_LISTEN?" in stderr.decode()


async def test_a_spoilt_context_key_is_named(tmp_path: Path) -> None:
    """A service without a usable context key ends with 2 and names the file."""
    spoilt = tmp_path / "spoilt.key"
    spoilt.write_text("abcd")
    process = await start(tmp_path, WEFT_ECHO_CONTEXT_KEY_FILE=str(spoilt))
    _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert str(spoilt) in stderr.decode()
