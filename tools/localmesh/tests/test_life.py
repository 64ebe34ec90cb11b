"""What ends and begins while calls go on: replicas, Envoy, the controller."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.parts.processes import PartError
from libs.testing.eventually import eventually
from tools.localmesh.pods import PODS, write_pods
from tools.localmesh.tests.lab import STREAM, Lab, backend_process, call, load, running_lab

SERVERS = """selector: {istio: edge}
  servers:
    - port: {number: 8081, name: second, protocol: HTTP2}
      hosts: ["*"]"""
PODS_OF_RAG = [("gateway-0", "gateway"), ("rag-0", "rag"), ("rag-1", "rag")]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path, PODS_OF_RAG) as lab:
        yield lab


@pytest.fixture
async def channel(lab: Lab) -> AsyncIterator[grpc.aio.Channel]:
    """From the gateway to rag."""
    async with grpc.aio.insecure_channel(lab.outbound("gateway-0", "rag")) as channel:
        yield channel


async def test_a_replica_that_says_so_gets_no_calls_until_it_serves_again(lab: Lab, channel: grpc.aio.Channel) -> None:
    """NOT_SERVING takes a replica out while its stream goes on, SERVING puts it back; no call fails."""
    stream: Any = channel.stream_stream(STREAM)()
    await stream.write(b"1")
    name = (await stream.read()).decode().split()[0]
    other = "rag-1" if name == "rag-0" else "rag-0"
    async with load(channel) as made:
        await lab.backends[name].health_says(False)
        await lab.ready("gateway-0", other)
        made.answers.clear()
        await eventually(lambda: made.answers[other] > 50)
        assert made.answers[name] <= 4  # those that were under way
        await stream.write(b"2")
        assert await stream.read() == f"{name} 2".encode()
        await lab.backends[name].health_says(True)
        await eventually(lambda: made.answers[name] > 10)
    assert made.failures == []


async def test_a_service_without_replicas_fails_at_once(lab: Lab, channel: grpc.aio.Channel) -> None:
    """Where nobody is ready, calls end as UNAVAILABLE and say so; they go through again when somebody is."""
    for name in ("rag-0", "rag-1"):
        await lab.backends[name].health_says(False)
    await lab.ready("gateway-0")

    async def failed() -> grpc.aio.AioRpcError | None:
        try:
            await call(channel)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    error = await eventually(failed)
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
    await lab.backends["rag-1"].health_says(True)
    await lab.ready("gateway-0", "rag-1")
    await eventually(lambda: _answers(channel))


async def test_a_killed_replica_leaves_and_its_successor_gets_calls(lab: Lab, channel: grpc.aio.Channel) -> None:
    """A replica that is killed is out as soon as its connection ends; one that starts in its place is in again. A
    replica that is new, and one that is gone from the list, are followed too."""
    with backend_process("rag-2") as (address, process):
        lab.add_pod("rag-2", "rag", address)
        await lab.ready("gateway-0", "rag-0", "rag-1", "rag-2")
        await eventually(lambda: _answers(channel, "rag-2"))
        os.kill(process.pid, signal.SIGKILL)
        await lab.ready("gateway-0", "rag-0", "rag-1")
        with backend_process("rag-2", address):
            await lab.ready("gateway-0", "rag-0", "rag-1", "rag-2")
            await eventually(lambda: _answers(channel, "rag-2"))
            async with load(channel) as made:
                lab.pods.pop()
                write_pods(lab.paths.state / PODS, lab.pods)
                await lab.ready("gateway-0", "rag-0", "rag-1")
                made.answers.clear()
                await eventually(lambda: sum(made.answers.values()) > 50)
            assert made.answers["rag-2"] <= 4
            assert made.failures == []


async def test_envoy_that_was_killed_comes_back_with_the_same_rules(lab: Lab, channel: grpc.aio.Channel) -> None:
    """After kill -9 the files that are there are what Envoy starts with; changes are followed by the new one."""
    assert lab.envoy
    os.kill(lab.envoy.pid, signal.SIGKILL)
    await asyncio.to_thread(lab.envoy.stop)
    lab.rewrite("routing.yaml", "subset: stable", "subset: canary")
    await lab.published(2)
    lab.rewrite("routing.yaml", "subset: canary", "subset: stable")
    await lab.published(3)
    await asyncio.to_thread(lab.start_envoy)
    await eventually(lambda: _answers(channel))
    lab.rewrite("authorization.yaml", "sa/gateway", "sa/embedding")
    await lab.published(4)
    await eventually(lambda: _fails(channel, grpc.StatusCode.PERMISSION_DENIED))


async def test_calls_go_on_without_the_controller_and_while_it_starts_again(
    lab: Lab, channel: grpc.aio.Channel
) -> None:
    """kill -9 of the controller stops no call; the next one takes over without a hole, and follows what changed."""
    assert lab.controller
    async with load(channel) as made:
        os.kill(lab.controller.pid, signal.SIGKILL)
        await asyncio.to_thread(lab.controller.stop)
        made.answers.clear()
        await eventually(lambda: sum(made.answers.values()) > 100)
        lab.rewrite("traffic.yaml", "connectTimeout: 1s", "connectTimeout: 2s")
        await asyncio.to_thread(lab.start_controller)
        await lab.ready("gateway-0", "rag-0", "rag-1")
        made.answers.clear()
        await eventually(lambda: min(made.answers["rag-0"], made.answers["rag-1"]) > 50)
    assert made.failures == []


@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        ("identity.yaml", "mode: STRICT", "mode: STRIKT"),  # the reader refuses it
        ("edge.yaml", "selector: {istio: edge}\n  servers:", SERVERS),  # the translator
        ("transcoding.yaml", "max_request_bytes: 8388608", "max_request_bytes: 0"),  # Envoy
    ],
    ids=["read", "translated", "taken"],
)
async def test_a_controller_that_starts_with_spoilt_rules_leaves_envoy_what_it_has(
    lab: Lab, channel: grpc.aio.Channel, file: str, good: str, bad: str
) -> None:
    """Where Envoy runs, the rules that were in force go on, with the health of replicas; the problem is told, whoever
    finds it; and when it is mended the files are in force again."""
    assert lab.controller
    async with load(channel) as made:
        os.kill(lab.controller.pid, signal.SIGKILL)
        await asyncio.to_thread(lab.controller.stop)
        lab.rewrite(file, good, bad)
        await asyncio.to_thread(lab.start_controller)
        assert len(lab.status().problems) == 1
        made.answers.clear()
        await eventually(lambda: sum(made.answers.values()) > 50)
        await lab.backends["rag-0"].health_says(False)
        await lab.ready("gateway-0", "rag-1")
        await lab.backends["rag-0"].health_says(True)
        await lab.ready("gateway-0", "rag-0", "rag-1")
        assert lab.status().rules == "refused"
        lab.rewrite(file, bad, good)
        await eventually(lambda: lab.status().rules == "in force")
        await lab.ready("gateway-0", "rag-0", "rag-1")
    assert made.failures == []


async def _answers(channel: grpc.aio.Channel, name: str = "") -> bool:
    """Whether a call is answered, by that replica where one is named."""
    try:
        answer = await call(channel)
    except grpc.aio.AioRpcError:
        return False
    return not name or answer == name


async def _fails(channel: grpc.aio.Channel, code: grpc.StatusCode) -> bool:
    try:
        await call(channel)
    except grpc.aio.AioRpcError as error:
        return error.code() is code
    return False


async def test_an_edge_whose_port_is_taken_is_said(lab: Lab) -> None:
    """Envoy would go on without the listener: its start fails instead, and names the address."""
    assert lab.envoy
    await asyncio.to_thread(lab.envoy.stop)
    taken = socket.create_server(("127.0.0.1", lab.edge_port))
    with taken, pytest.raises(PartError, match=f"the address {lab.edge} is taken"):
        await asyncio.to_thread(lab.start_envoy)
