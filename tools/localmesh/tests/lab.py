"""A whole local mesh for a test: the controller and Envoy as processes, and small services behind them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1 import health_pb2 as pb

from libs.parts.envoy import EnvoyPart, start_envoy
from libs.parts.install import REPOSITORY_ROOT
from libs.parts.processes import RunningPart, free_port, python_environment, start_part, wait_until
from libs.testing.eventually import eventually
from tools.localmesh.pods import PODS, Pod, mesh_address, outbound_address, write_pods
from tools.localmesh.state import Paths
from tools.localmesh.told import Status, read_status
from tools.localmesh.workloads import BASE, Registry, read_registry

MESH = REPOSITORY_ROOT / "mesh"
READY_WITHIN_S = 30.0
UNARY = "/weft.rag.v1.CollectionService/GetCollection"
STREAM = "/weft.rag.v1.AnswerService/StreamAnswer"


class Backend(grpc.GenericRpcHandler):
    """A service that answers every unary call with its name, and every message of a Stream... method with its name and
    that message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.headers: dict[str, str] = {}
        self.health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def start(self, address: str = "127.0.0.1:0") -> str:
        self._server.add_generic_rpc_handlers([self])
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        port = self._server.add_insecure_port(address)
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._server.stop(0)

    async def health_says(self, serves: bool) -> None:
        """From now on, of the process."""
        await self.health.set("", pb.HealthCheckResponse.SERVING if serves else pb.HealthCheckResponse.NOT_SERVING)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if details.method.startswith("/grpc."):
            return None
        if details.method.rpartition("/")[2].startswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    async def _unary(self, request: bytes, context: Any) -> bytes:
        self.headers = dict(context.invocation_metadata())
        return self.name.encode()

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self.name.encode() + b" " + request


BACKEND_PROCESS = """
import asyncio, sys
from tools.localmesh.tests.lab import Backend
async def main():
    print(await Backend(sys.argv[1]).start(sys.argv[2]), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def backend_process(name: str, address: str = "127.0.0.1:0") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A backend that can be killed: its address and its process."""
    command = [sys.executable, "-c", BACKEND_PROCESS, name, address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **python_environment()})
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()


@dataclass
class Lab:
    """A mesh that runs. `paths.rules` and `paths.base` are copies that a test may spoil."""

    folder: Path
    edge_port: int = field(default_factory=free_port)
    pods: list[Pod] = field(default_factory=list)
    backends: dict[str, Backend] = field(default_factory=dict)
    controller: RunningPart | None = None
    envoy: EnvoyPart | None = None

    @property
    def paths(self) -> Paths:
        return Paths(self.folder / "mesh", self.folder / "rules", self.folder / "base")

    @property
    def edge(self) -> str:
        return f"127.0.0.1:{self.edge_port}"

    @property
    def registry(self) -> Registry:
        return read_registry(self.paths.base)

    def add_pod(self, name: str, workload: str, app: str) -> Pod:
        """Tells the controller of a replica too."""
        number = len(self.pods) + 1
        self.pods.append(Pod(name, self.registry.workload(workload), mesh_address(self.edge_port, number), app))
        write_pods(self.paths.state / PODS, self.pods)
        return self.pods[-1]

    async def add_backend(self, name: str, workload: str) -> Backend:
        backend = self.backends[name] = Backend(name)
        self.add_pod(name, workload, await backend.start())
        return backend

    def pod(self, name: str) -> Pod:
        return next(pod for pod in self.pods if pod.name == name)

    def outbound(self, client: str, service: str) -> str:
        """Where a pod dials a service."""
        pod = self.pod(client)
        found = next(way for way in self.registry.dialled_by(pod.workload) if way[0].name == service)
        return ":".join(map(str, outbound_address(self.registry, pod, *found)))

    def status(self) -> Status:
        status = read_status(self.paths.state)
        assert status is not None
        return status

    def start_controller(self, *options: str) -> RunningPart:
        """Ready when it returns."""
        paths = self.paths
        command = [sys.executable, "-m", "tools.localmesh", "--state", str(paths.state), "--edge", self.edge]
        command += ["--rules", str(paths.rules), "--base", str(paths.base), *options]
        log = self.folder / "controller.log"
        self.controller = start_part("mesh", command, log=log, environment=python_environment())
        part = self.controller
        wait_until(part, lambda: '"event":"ready"' in part.written(), READY_WITHIN_S)
        return part

    def start_envoy(self) -> EnvoyPart:
        log = self.folder / "envoy.log"
        self.envoy = start_envoy(self.paths.bootstrap, self.paths.envoy, log=log, address=self.edge)
        return self.envoy

    def rewrite(self, file: str, old: str, new: str) -> None:
        """Saves a file of the rules as editors do, by rename."""
        path = self.paths.rules / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        partial = path.with_suffix(".tmp")
        partial.write_text(text.replace(old, new, 1))
        partial.replace(path)

    async def published(self, count: int) -> Status:
        """Waits until Envoy was given something new for the `count`th time."""
        await eventually(lambda: self.status().published >= count, within_s=60)
        return self.status()

    async def ready(self, *names: str) -> None:
        """Waits until these pods get calls, and no others do."""
        await eventually(lambda: set(self.status().ready) == set(names), within_s=60)

    async def stop(self) -> None:
        for part in (self.controller, self.envoy):
            if part:
                await asyncio.to_thread(part.stop, 1.0)
        for backend in self.backends.values():
            await backend.stop()


@asynccontextmanager
async def running_lab(
    folder: Path, workloads: Sequence[tuple[str, str]], *options: str, change: Callable[[Lab], None] | None = None
) -> AsyncIterator[Lab]:
    """The mesh of the repository's own rules with these pods, (name, workload) each, and the edge; all are ready."""
    lab = Lab(folder)
    lab.paths.state.mkdir(parents=True)
    shutil.copytree(MESH, lab.paths.rules)
    shutil.copytree(BASE, lab.paths.base)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lab.stop)
        lab.add_pod("edge-0", "edge", "")
        for name, workload in workloads:
            await lab.add_backend(name, workload)
        if change:
            change(lab)
        await asyncio.to_thread(lab.start_controller, *options)
        await asyncio.to_thread(lab.start_envoy)
        await lab.ready(*(name for name, _ in workloads))
        yield lab


async def call(channel: grpc.aio.Channel, path: str = UNARY, **metadata: str) -> str:
    """The name of who answers. Waits for nothing."""
    method: Any = channel.unary_unary(path)
    answer: bytes = await method(b"", metadata=tuple(metadata.items()), timeout=10)
    return answer.decode()


@dataclass
class Load:
    """What became of calls that are made one after the other by a few callers."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def load(channel: grpc.aio.Channel, callers: int = 4) -> AsyncIterator[Load]:
    """Calls go on while entered."""
    found = Load()

    async def go_on() -> None:
        while True:
            try:
                found.answers[await call(channel)] += 1
            except grpc.aio.AioRpcError as error:
                found.failures.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(go_on()) for _ in range(callers)]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
