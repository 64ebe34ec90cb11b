"""Routes and clusters of a client from rules as they are written: as JSON, and in a real Envoy."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from libs.parts.envoy import envoy_program, start_envoy
from libs.parts.processes import free_port
from tools.localmesh.envoy.bootstrap import RUNTIME
from tools.localmesh.envoy.clusters import endpoints, outbound_clusters, outbound_targets
from tools.localmesh.envoy.routes import outbound_routes
from tools.localmesh.mesh import Edge, Json, Mesh, cluster_name, typed
from tools.localmesh.pods import HOME_ZONE, Pod, mesh_address
from tools.localmesh.problems import Place
from tools.localmesh.rules.faults import Fault
from tools.localmesh.rules.gateways import Gateway, Server
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.tests.written import RAG, destination_rules, virtual_services, written
from tools.localmesh.workloads import Registry, Service, ServicePort, Workload

PORT = ServicePort("grpc", 50051, 50051)
REST = ServicePort("http-rest", 8080, 8081)
SERVICES = (Service("rag", "weft", {"app": "rag"}, (PORT,)), Service("other", "weft", {"app": "other"}, (REST,)))
SUBSETS = "subsets: [{name: stable, labels: {version: stable}}, {name: canary, labels: {version: canary}}]"
PLAIN = written("DestinationRule", f"host: rag\ntrafficPolicy: {{tls: {{mode: DISABLE}}}}\n{SUBSETS}")
HERE = Place(Path("anywhere"), 1)
SERVER = Server(8080, "plain", False, ("*",), "TLSV1_2", HERE)
GATEWAY = Gateway("edge", "weft", {}, (SERVER,), HERE)


def a_mesh(
    folder: Path,
    *texts: str,
    replicas: Mapping[str, tuple[str, str]] | None = None,
    ready: Iterable[str] | None = None,
    drills: Mapping[str, Fault] | None = None,
    edge_port: int = 7700,
) -> Mesh:
    """A client, and replicas of `rag`: by name, their version and zone."""
    made = replicas or {"rag-0": ("stable", HOME_ZONE), "rag-1": ("canary", HOME_ZONE)}
    client = Workload("client", "weft", "client", {"app": "client", "version": "stable"}, 1, {}, True)
    other = Workload("other", "weft", "other", {"app": "other"}, 1, {}, True)
    workloads = [client, other]
    pods = [Pod("client-0", client, mesh_address(edge_port, 1), "127.0.0.1:1")]
    for number, (name, (version, zone)) in enumerate(made.items(), start=2):
        labels = {"app": "rag", "version": version}
        workload = Workload(name, "weft", "rag", labels, 1, {}, True)
        workloads.append(workload)
        pods.append(Pod(name, workload, mesh_address(edge_port, number), "127.0.0.1:1", zone))
    rules = Rules(tuple(virtual_services(folder, *texts)), tuple(destination_rules(folder, *texts)))
    names = frozenset(pod.name for pod in pods) if ready is None else frozenset(ready)
    registry = Registry(SERVICES, tuple(workloads))
    return Mesh(registry, tuple(pods), rules, Edge("127.0.0.1:1"), folder, names, dict(drills or {}))


def client(mesh: Mesh) -> Pod:
    """Whose calls are looked at."""
    return mesh.pods[0]


def routes(mesh: Mesh) -> list[Json]:
    """Those of the client's calls to `rag`."""
    (host,) = outbound_routes(mesh, client(mesh), SERVICES[0], PORT)["virtual_hosts"]
    found: list[Json] = host["routes"]
    return found


def static(mesh: Mesh, port: int) -> Json:
    """A bootstrap without xDS: the client's calls to `rag` come in at the port."""
    routes = outbound_routes(mesh, client(mesh), SERVICES[0], PORT)
    clusters = []
    made = outbound_clusters(mesh, client(mesh), SERVICES[0], PORT)
    for target, cluster in zip(outbound_targets(mesh, client(mesh), SERVICES[0], PORT), made, strict=True):
        assignment = endpoints(mesh, client(mesh), target.service, target.port, target.subset)
        assert cluster["name"] == cluster_name(client(mesh), target.service, target.port, target.subset)
        rest = {name: value for name, value in cluster.items() if name not in ("@type", "eds_cluster_config")}
        clusters.append(rest | {"type": "STATIC", "load_assignment": _bare(assignment)})
    filters = [
        {"name": f"envoy.filters.http.{name}", "typed_config": typed(f"envoy.extensions.filters.http.{name}.v3.{kind}")}
        for name, kind in (("fault", "HTTPFault"), ("cors", "Cors"), ("router", "Router"))
    ]
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="test",
        route_config=_bare(routes),
        http_filters=filters,
    )
    name = "envoy.filters.network.http_connection_manager"
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }
    return {
        "admin": {"address": {"pipe": {"path": "admin.sock"}}},
        "static_resources": {"listeners": [listener], "clusters": clusters},
        "layered_runtime": RUNTIME,
    }


def _bare(message: Json) -> Json:
    return {name: value for name, value in message.items() if name != "@type"}


def refusal_of_envoy(folder: Path, bootstrap: Json) -> str:
    """What Envoy says against a bootstrap; "" where it takes it."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    command = [str(envoy_program()), "--mode", "validate", "-c", str(path), "--log-level", "error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@dataclass
class Replica(grpc.GenericRpcHandler):
    """Answers every call with its name. `seen`: path and metadata of each call; `fails`: how many fail first."""

    name: str
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    fails: int = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def answer(request: bytes, context: Any) -> bytes:
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            remaining_s = context.time_remaining()
            self.seen.append((details.method, metadata | {"remaining": str(remaining_s)}))
            if self.fails:
                self.fails -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "fails on purpose")
            return self.name.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@dataclass(frozen=True)
class Running:
    """`call` is the client's to `rag`, through its proxy."""

    replicas: Mapping[str, Replica]
    channel: grpc.aio.Channel

    async def call(self, path: str = "/a.B/C", timeout_s: float = 20.0, **metadata: str) -> str:
        """The name of the replica that answers. Raises grpc.aio.AioRpcError."""
        pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return (await method(b"", timeout=timeout_s, metadata=pairs)).decode()

    async def failure(self, path: str = "/a.B/C", **metadata: str) -> tuple[grpc.StatusCode, str]:
        """Of a call that must fail."""
        try:
            answer = await self.call(path, 20.0, **metadata)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"answered by {answer}")

    def seen(self) -> Sequence[tuple[str, dict[str, str]]]:
        """All calls that came to any replica."""
        return [call for replica in self.replicas.values() for call in replica.seen]


@asynccontextmanager
async def running(folder: Path, *texts: str, **options: Any) -> AsyncIterator[Running]:
    """A real Envoy with the client's routes and clusters, and a process at the address of each replica."""
    port = free_port()
    plain = () if any("DestinationRule" in text for text in texts) else (PLAIN,)
    mesh = a_mesh(folder, *texts, *plain, edge_port=port, **options)
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(static(mesh, port)))
    async with AsyncExitStack() as stack:
        replicas = {}
        for pod in mesh.pods[1:]:
            replicas[pod.name] = Replica(pod.name)
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((replicas[pod.name],))
            server.add_insecure_port(f"{pod.ip}:{PORT.target}")
            await server.start()
            stack.push_async_callback(server.stop, 0)
        part = await asyncio.to_thread(start_envoy, path, folder / "run", log=folder / "envoy.log")
        stack.push_async_callback(asyncio.to_thread, part.stop, 1.0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Running(replicas, channel)


def to(subset: str, *, before: str = "") -> str:
    """A route to a subset of `rag`, `before` which other fields are."""
    return f"{before}route: [{{destination: {{host: {RAG}, subset: {subset}}}}}]"
