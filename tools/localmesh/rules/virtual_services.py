"""VirtualService: which way calls to a host go."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.localmesh.documents import Document
from tools.localmesh.problems import Place
from tools.localmesh.rules.http_routes import HttpRoute

MESH_GATEWAY = "mesh"
"""What Istio calls the sidecars."""


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


def read_virtual_service(document: Document) -> VirtualService:
    """Raises MeshError."""
    raise NotImplementedError
