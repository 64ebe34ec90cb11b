"""A real Envoy that is the proxy of a few pods, a gRPC service behind one of them, and callers behind the others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import grpc

from libs.config.files import write_whole
from libs.parts.envoy import ask_admin, start_envoy
from libs.parts.processes import RunningPart, free_port
from libs.testing.eventually import eventually
from tools.localmesh.authority import Authority, identities
from tools.localmesh.certificates import Pair, read_pair
from tools.localmesh.documents import read_documents
from tools.localmesh.envoy.bootstrap import bootstrap
from tools.localmesh.envoy.clusters import OPTIONS, protocol_options
from tools.localmesh.envoy.listeners import edge, inbound, outbound
from tools.localmesh.envoy.sources import Kind, resource_file
from tools.localmesh.envoy.tls import TlsMode, secrets, upstream_socket
from tools.localmesh.mesh import Edge, Json, Mesh, cluster_name, outbound_name, typed
from tools.localmesh.pods import Pod, inbound_address, mesh_address, outbound_address
from tools.localmesh.rules.authorization import read_authorization_policy
from tools.localmesh.rules.delegation import merge_delegates
from tools.localmesh.rules.envoy_filters import read_envoy_filter
from tools.localmesh.rules.gateways import read_gateway
from tools.localmesh.rules.peer_authentication import read_peer_authentication
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.virtual_services import read_virtual_service
from tools.localmesh.serve import Server
from tools.localmesh.workloads import Registry, Service, ServicePort, Workload

PORT = ServicePort("grpc", 50051, 50052)
ECHO = Service("echo", "weft", {"app": "echo"}, (PORT,))
UNARY = "/lab.Echo/Unary"
STREAM = "/lab.Echo/Stream"
CALLERS = ("friend", "stranger")
"""Each call of the second is over a connection of its own between the proxies."""
TICK_S = 0.01


def workload(name: str) -> Workload:
    return Workload(name, "weft", name, {"app": name}, 1, {}, True)


def security(folder: Path, text: str = "") -> Rules:
    """Rules from YAML with documents of any kind but DestinationRule."""
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text("resources: [rules.yaml]")
    (folder / "rules.yaml").write_text(text)
    documents = read_documents(folder)
    found = {document.kind: [each for each in documents if each.kind == document.kind] for document in documents}
    return Rules(
        virtual_services=tuple(
            merge_delegates([read_virtual_service(each) for each in found.get("VirtualService", ())])
        ),
        peer_authentications=tuple(map(read_peer_authentication, found.get("PeerAuthentication", ()))),
        authorization_policies=tuple(map(read_authorization_policy, found.get("AuthorizationPolicy", ()))),
        gateways=tuple(map(read_gateway, found.get("Gateway", ()))),
        envoy_filters=tuple(map(read_envoy_filter, found.get("EnvoyFilter", ()))),
    )


def mode(name: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: weft}}
spec: {{mtls: {{mode: {name}}}}}
---
"""


def policy(spec: str, name: str = "echo") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: weft}}
spec: {spec}
---
"""


def a_mesh(folder: Path, rules: Rules, app: str = "127.0.0.1:1", edge: Edge | None = None) -> Mesh:
    """The service `echo`, whose process is at `app`, two that may want to call it, and an edge."""
    workloads = [workload(name) for name in ("echo", *CALLERS, "edge")]
    number = free_port()
    apps = {"echo": app, "edge": ""}
    pods = tuple(
        Pod(f"{each.name}-0", each, mesh_address(number, position), apps.get(each.name, "127.0.0.1:1"))
        for position, each in enumerate(workloads, start=1)
    )
    registry = Registry((ECHO,), tuple(workloads))
    return Mesh(registry, pods, rules, edge or Edge("127.0.0.1:1"), folder / "certificates")


class Lab:
    """`publish` gives Envoy the rules; all else stays as it was made."""

    def __init__(self, folder: Path, mesh: Mesh, ttl_s: float, tls: TlsMode | None) -> None:
        self.mesh = mesh
        self.pods: Mapping[str, Pod] = {pod.workload.name: pod for pod in mesh.pods}
        self.authority = Authority(folder / "authority", mesh.certificates, ttl_s=ttl_s)
        self.accounts = identities(mesh.registry.workloads)
        self.log = folder / "envoy.log"
        self.envoy = folder / "run"
        self.envoy.mkdir(mode=0o700)
        self._tls = tls
        self._written: dict[Path, bytes] = {}
        self._changed = 0
        self._folder = folder
        self.server = Server(folder, self.envoy, self._written.get)

    async def publish(self, rules: Rules) -> None:
        """Returns when Envoy has taken all that is different. Raises AssertionError where it does not."""
        before = self.statistic("update_success")
        changed = self.write(rules)
        await eventually(lambda: self.statistic("update_success") >= before + changed)
        assert not self.statistic("update_rejected"), self.log.read_text()

    def write(self, rules: Rules) -> int:
        """How many files are different now."""
        self._changed = 0
        self.mesh = replace(self.mesh, rules=rules)
        mesh, pod = self.mesh, self.pods["echo"]
        for name, secret in secrets(mesh).items():
            self._write("sds", name, [secret])
        listener, routes, process = inbound(mesh, pod, ECHO, PORT)
        listeners, clusters = [listener], [process]
        self._write("rds", routes["name"], [routes])
        for caller in CALLERS:
            listeners.append(outbound(mesh, self.pods[caller], ECHO, PORT))
            clusters.append(self._cluster(self.pods[caller]))
            self._write_route(self.pods[caller])
        for gateway in rules.gateways:
            clusters.append(self._cluster(self.pods["edge"]))
            listener, configurations = edge(mesh, self.pods["edge"], gateway)
            listeners.append(listener)
            for routes in configurations:
                self._write("rds", routes["name"], [routes])
        self._write("cds", "", clusters)
        self._write("lds", "", listeners)
        self.server.changed()
        return self._changed

    def channel(self, caller: str) -> grpc.aio.Channel:
        """From the process of a pod to the service, as it is told to dial it."""
        host, port = outbound_address(self.mesh.registry, self.pods[caller], ECHO, PORT)
        return channel(f"{host}:{port}")

    @property
    def inbound(self) -> tuple[str, int]:
        """Where the service's proxy listens."""
        return inbound_address(self.pods["echo"], PORT)

    def told(self) -> list[Json]:
        """The lines of JSON that Envoy wrote."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def statistic(self, name: str) -> int:
        """The sum of the statistics whose names end so."""
        lines = ask_admin(self.envoy, "GET", "/stats").decode().splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines if line.rpartition(": ")[0].endswith(name))

    def _cluster(self, client: Pod) -> Json:
        host, port = inbound_address(self.pods["echo"], PORT)
        name = cluster_name(client, ECHO, PORT)
        socket = upstream_socket(self.mesh, client, ECHO, PORT, "", self._tls)
        options = protocol_options(PORT, None)
        if client.workload.name == CALLERS[1]:
            options["common_http_protocol_options"] = {"max_requests_per_connection": 1}
        endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
        return typed(
            "envoy.config.cluster.v3.Cluster",
            name=name,
            type="STATIC",
            typed_extension_protocol_options={OPTIONS: options},
            load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
            **({"transport_socket": socket} if socket else {}),
        )

    def _write_route(self, client: Pod) -> None:
        name = outbound_name(client, ECHO, PORT)
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster_name(client, ECHO, PORT), "timeout": "0s"}}
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        self._write("rds", name, [typed("envoy.config.route.v3.RouteConfiguration", name=name, virtual_hosts=hosts)])

    def _write(self, kind: Kind, name: str, resources: list[Json]) -> None:
        path = resource_file(self._folder, kind, name)
        version = hashlib.sha256(json.dumps(resources).encode()).hexdigest()
        content = json.dumps({"version_info": version, "resources": resources}).encode()
        if self._written.get(path) != content:
            self._written[path] = content
            self._changed += 1


def refused(lab: Lab, why: str) -> bool:
    """Whether Envoy told that it hung up on a caller for that reason."""
    lines = [line for line in lab.told() if line["event"] == "caller_refused"]
    return any(why in line["tls_failure"].replace("_", " ") for line in lines)


def channel(address: str) -> grpc.aio.Channel:
    """Tries again soon: what a test does to a connection is over at once."""
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
    options += [("grpc.max_receive_message_length", 100 << 20), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(address, options=options)


async def call(
    channel: grpc.aio.Channel,
    message: bytes = b"",
    timeout_s: float = 10.0,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """What metadata the service got."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(UNARY)
    answer = await method(message, timeout=timeout_s, metadata=tuple(metadata.items()))
    found: dict[str, str] = json.loads(answer)
    return found


def stream(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    """Ticks until it is cancelled."""
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(STREAM)
    return method(b"")


async def failure(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    """Why a call fails, which it must."""
    try:
        answer = await call(channel)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call was answered: {answer}")


@asynccontextmanager
async def lab(
    folder: Path,
    rules: Rules,
    *,
    ttl_s: float = 3600.0,
    tls: TlsMode | None = None,
    certificates: Mapping[str, Callable[[Pair], Pair]] | None = None,
    edge: Edge | None = None,
) -> AsyncIterator[Lab]:
    """`certificates`: what some accounts have in place of their own, made with the mesh's authority."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 100 << 20)])
    server.add_generic_rpc_handlers((_Echo(),))
    app = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    made = Lab(folder, a_mesh(folder, rules, app, edge), ttl_s, tls)
    made.authority.renew(made.accounts, time.time())
    for account, make in (certificates or {}).items():
        authority = read_pair(folder / "authority" / "authority.pem")
        assert authority
        write_whole(made.mesh.certificates / f"{account}.pem", make(authority).pem())
    made.write(rules)
    start = folder / "bootstrap.json"
    start.write_text(json.dumps(bootstrap("local/a")))
    part: RunningPart | None = None
    try:
        await made.server.start()
        part = await asyncio.to_thread(start_envoy, start, made.envoy, log=made.log)
        await eventually(lambda: _listens(made.inbound))
        yield made
    finally:
        if part:
            await asyncio.to_thread(part.stop, 1.0)
        await made.server.stop()
        await server.stop(0)


async def _listens(address: tuple[str, int]) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    return True


class _Echo(grpc.GenericRpcHandler):
    """Unary: answers with the metadata that it got, and how long the message was. Stream: a message now and then."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(_unary)
        return grpc.unary_stream_rpc_method_handler(_stream) if details.method == STREAM else None


async def _unary(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    found = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return json.dumps({**found, "length": str(len(request))}).encode()


async def _stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
    while True:
        yield b"tick"
        await asyncio.sleep(TICK_S)
