"""A proxy of the tests' own beside a stack's: it dials any replica with the certificate of any workload."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from libs.parts.envoy import ask_admin, start_envoy
from tests.mesh.running import RunningMesh
from tools.localmesh.envoy.tls import secrets, upstream_socket
from tools.localmesh.mesh import Edge, Json, Mesh, typed
from tools.localmesh.pods import Pod, inbound_address
from tools.localmesh.state import Paths, read_mesh
from tools.localmesh.workloads import BASE, Service, ServicePort, Workload

_HTTP = "envoy.extensions.filters.http"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class Door:
    """A port of a replica, and the Service that it is behind."""

    pod: Pod
    service: Service
    port: ServicePort

    @property
    def name(self) -> str:
        return f"{self.pod.name}.{self.port.target}"

    @property
    def address(self) -> tuple[str, int]:
        """Where its proxy listens."""
        return inbound_address(self.pod, self.port)


@dataclass(frozen=True)
class Way:
    """A client's identity, the door that it means, and where calls go in truth."""

    client: Workload
    door: Door
    address: tuple[str, int]

    @property
    def name(self) -> str:
        return f"{self.client.name}.to.{self.door.name}.at.{self.address[0]}.{self.address[1]}"


def mesh_of(running: RunningMesh) -> Mesh:
    """As its files say it."""
    return read_mesh(Paths(running.state, running.rules, BASE), Edge(running.address))


def doors(mesh: Mesh) -> list[Door]:
    """Every port at which a replica takes calls from others."""
    return [Door(pod, service, port) for pod in mesh.pods for service, port in mesh.ports_of(pod)]


def honest(client: Workload, door: Door) -> Way:
    """To where the door is."""
    return Way(client, door, door.address)


@dataclass(frozen=True)
class Stranger:
    """Where to dial for each way, by the way's name; and the proxy's working folder."""

    addresses: Mapping[str, str]
    folder: Path

    def mistaken_identities(self, way: Way) -> int:
        """How often a server on this way was not who it had to be."""
        pattern = quote(f"cluster.{way.name}.ssl.fail_verify_san")
        return int(ask_admin(self.folder, "GET", f"/stats?filter={pattern}").rpartition(b" ")[2])


@contextmanager
def stranger(mesh: Mesh, ways: Sequence[Way], folder: Path) -> Iterator[Stranger]:
    """A proxy that does what the stack's own does for the client of each way."""
    ports = dict(zip((way.name for way in ways), _free_ports(len(ways)), strict=True))
    bootstrap = {
        "node": {"id": "stranger", "cluster": "stranger"},
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(way, ports[way.name]) for way in ways],
            "clusters": [_cluster(mesh, way) for way in ways],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    part = start_envoy(path, folder / "run", log=folder / "envoy.log")
    try:
        yield Stranger({name: f"127.0.0.1:{port}" for name, port in ports.items()}, folder / "run")
    finally:
        part.stop(grace_s=1.0)


def _listener(way: Way, port: int) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": way.name, "timeout": "0s"}}
    manager = typed(
        _MANAGER,
        stat_prefix=way.name,
        route_config={"name": way.name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed(f"{_HTTP}.router.v3.Router")}],
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": way.name, "address": _socket(("127.0.0.1", port)), "filter_chains": [chain]}


def _cluster(mesh: Mesh, way: Way) -> Json:
    client = Pod("stranger", way.client, "127.0.0.1", "127.0.0.1:1")
    tls: Any = upstream_socket(mesh, client, way.door.service, way.door.port, "", "ISTIO_MUTUAL")
    assert tls, "a proxy speaks TLS"
    _with_files(tls["typed_config"]["common_tls_context"], secrets(mesh))
    endpoint = {"endpoint": {"address": _socket(way.address)}}
    return {
        "name": way.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "transport_socket": tls,
        "typed_extension_protocol_options": {
            _OPTIONS: typed(_OPTIONS, explicit_http_config={"http2_protocol_options": {}})
        },
        "load_assignment": {"cluster_name": way.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _with_files(context: Json, known: Mapping[str, Json]) -> None:
    """Certificates as they are now, in place of names of them: what follows files is the stack's to spend."""
    (certificate,) = context.pop("tls_certificate_sds_secret_configs")
    validation = context.pop("combined_validation_context")
    authorities = validation["validation_context_sds_secret_config"]["name"]
    context["tls_certificates"] = [_unwatched(known[certificate["name"]]["tls_certificate"])]
    context["validation_context"] = {
        **validation["default_validation_context"],
        **_unwatched(known[authorities]["validation_context"]),
    }


def _unwatched(secret: Json) -> Json:
    return {name: value for name, value in secret.items() if name != "watched_directory"}


def _free_ports(count: int) -> list[int]:
    """Each another: all are taken before the first is given back."""
    with ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def _socket(address: tuple[str, int]) -> Json:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}
