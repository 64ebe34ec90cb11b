"""Which ways a client's calls may go, by VirtualServices: the part of routing that is known before there is a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.localmesh.mesh import Mesh
from tools.localmesh.pods import Pod
from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.gateways import Gateway, Server
from tools.localmesh.rules.http_routes import Destination, HttpRoute
from tools.localmesh.rules.matches import EVERY_PATH, MESH_GATEWAY, Match
from tools.localmesh.rules.virtual_services import ANY_HOST, VirtualService
from tools.localmesh.workloads import Registry, Service, ServicePort, includes


@dataclass(frozen=True)
class Way:
    """A route under one of its matches; None matches every call. `called` is the port that calls come to: of the
    Service that was called or, at the edge, of the Gateway's server."""

    route: HttpRoute
    match: Match | None
    called: int
    at_edge: bool

    @property
    def name(self) -> str:
        """As Istio calls it."""
        return f"{self.route.name}.{self.match.name}" if self.match and self.match.name else self.route.name


@dataclass(frozen=True)
class Target:
    """Replicas that calls may go to: those of a Service or, with `subset`, some of them."""

    service: Service
    port: ServicePort
    subset: str = ""


def mesh_ways(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> list[Way]:
    """In the order in which they are tried. None where no VirtualService is for these calls: they go to the Service."""
    for virtual_service in mesh.rules.virtual_services:
        mine = not virtual_service.private or virtual_service.namespace == client.workload.namespace
        if mine and MESH_GATEWAY in virtual_service.gateways and service.host in virtual_service.hosts:
            return _ways(virtual_service, client, MESH_GATEWAY, port.number)
    return []


def edge_ways(mesh: Mesh, pod: Pod, gateway: Gateway, server: Server) -> dict[str, list[Way]]:
    """By the names of hosts that callers use; "*" is any other."""
    name = f"{gateway.namespace}/{gateway.name}"
    found: dict[str, list[Way]] = {}
    for virtual_service in mesh.rules.virtual_services:
        mine = not virtual_service.private or virtual_service.namespace == pod.workload.namespace
        if not mine or name not in virtual_service.gateways:
            continue
        ways = _ways(virtual_service, pod, name, server.number)
        for host in virtual_service.hosts if ways else ():
            if ANY_HOST in server.hosts or host in server.hosts:
                found.setdefault(host, []).extend(ways)
    return found


def targets(registry: Registry, ways: Iterable[Way]) -> list[Target]:
    """All that these ways lead to, each once. Raises MeshError."""
    return distinct(target(registry, way, destination) for way in ways for destination in shares(way.route))


def distinct(found: Iterable[Target]) -> list[Target]:
    """Each once, in the order of their first appearance."""
    return list({(one.service.host, one.port.number, one.subset): one for one in found}.values())


def shares(route: HttpRoute) -> Sequence[Destination]:
    """Where some of the route's calls go: the only destination, or those with a weight."""
    if len(route.destinations) == 1:
        return route.destinations
    return [destination for destination in route.destinations if destination.weight]


def target(registry: Registry, way: Way, destination: Destination) -> Target:
    """Where a destination of the way is. One without a port has the number that was called; only at the edge the
    Service's own, where it has just one.

    Raises MeshError where there is no such Service or port.
    """
    service = registry.service(destination.host)
    if service is None:
        raise _no(destination, "host", f"there is no Service {destination.host}")
    number = destination.port or way.called
    if destination.port is None and way.at_edge and len(service.ports) == 1:
        number = service.ports[0].number
    for port in service.ports:
        if port.number == number:
            return Target(service, port, destination.subset)
    listed = ", ".join(str(port.number) for port in service.ports)
    raise _no(destination, "port", f"{service.host} has no port {number}; it has {listed}: name the one that is meant")


def _no(destination: Destination, name: str, text: str) -> MeshError:
    return MeshError([Problem(destination.place, f"{destination.path}.{name}", text)])


def _ways(virtual_service: VirtualService, client: Pod, gateway: str, port: int) -> list[Way]:
    """What comes after a way that takes every call is left out: nothing gets there."""
    found: list[Way] = []
    for route in virtual_service.http:
        for match in route.matches or (None,):
            if match is None or _concerns(match, client, gateway, port):
                found.append(Way(route, match, port, gateway != MESH_GATEWAY))
                if takes_everything(match):
                    return found
    return found


def _concerns(match: Match, client: Pod, gateway: str, port: int) -> bool:
    if match.port not in (None, port):
        return False
    if match.gateways:
        return gateway in match.gateways
    own = client.workload
    return includes(own.labels, match.source_labels) and match.source_namespace in ("", own.namespace)


def takes_everything(match: Match | None) -> bool:
    """Whether every call that is asked about matches."""
    if match is None:
        return True
    asked = (match.scheme, match.method, match.authority)
    if any(asked) or match.headers or match.without_headers or match.query_parameters:
        return False
    return match.uri is None or match.uri in EVERY_PATH
