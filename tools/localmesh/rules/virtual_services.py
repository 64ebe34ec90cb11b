"""VirtualService: which way calls to a host go."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.hosts import full_name, read_private
from tools.localmesh.rules.http_routes import HttpRoute
from tools.localmesh.rules.matches import MESH_GATEWAY, read_gateways
from tools.localmesh.rules.read_http_route import read_http_route

ANY_HOST = "*"


@dataclass(frozen=True)
class VirtualService:
    """Without `hosts` it is a delegate. `gateways` are "mesh" (clients with sidecars) and NAMESPACE/NAME of Gateways.
    The first route that matches is the way. `private`: for clients of its own namespace only."""

    name: str
    namespace: str
    place: Place = field(compare=False)
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = (MESH_GATEWAY,)
    http: tuple[HttpRoute, ...] = ()
    private: bool = False

    @property
    def title(self) -> str:
        return f"VirtualService {self.namespace}/{self.name}"


def read_virtual_service(document: Document) -> VirtualService:
    """Raises MeshError."""
    spec = document.spec()
    if spec is None:
        raise document.root.problem("spec is missing; add it")
    fields = spec.fields("hosts", "gateways", "exportTo", required=("http",))
    gateways = read_gateways(fields["gateways"], document.namespace) if "gateways" in fields else (MESH_GATEWAY,)
    hosts = _hosts(fields["hosts"], document.namespace, gateways) if "hosts" in fields else ()
    routes = tuple(read_http_route(item, document.namespace) for item in fields["http"].items())
    if not routes:
        raise fields["http"].problem("must not be empty")
    if not hosts:
        _check_delegate(fields["http"], fields.get("gateways"))
    private = read_private(fields.get("exportTo"))
    return VirtualService(document.name, document.namespace, document.place, hosts, gateways, routes, private)


def _hosts(node: Node, namespace: str, gateways: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for item in node.items():
        name = ANY_HOST if item.text() == ANY_HOST else full_name(item, namespace)
        if name == ANY_HOST and MESH_GATEWAY in gateways:
            raise item.problem('"*" is for Gateways only; name the host, or the gateways')
        if name in found:
            raise item.problem(f"{name} is there twice; remove one")
        found.append(name)
    if not found:
        raise node.problem("must not be empty; a delegate leaves it out")
    return tuple(found)


def _check_delegate(http: Node, gateways: Node | None) -> None:
    """Without hosts it is one."""
    if gateways:
        raise gateways.problem("a VirtualService without hosts is a delegate, and has no gateways; remove them")
    for item in http.items():
        if "delegate" in item.entries():
            raise item.entries()["delegate"].problem("a delegate cannot hand on to another; it needs a route")
