"""The replicas that both sides are asked about: of every workload one at least, and of some in zones apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.localmesh.pods import HOME_ZONE, Pod, mesh_address
from tools.localmesh.workloads import Registry

EDGE_PORT = 7700
APP_PORT = 50051
ZONES: Mapping[str, Sequence[str]] = {
    "rag": (HOME_ZONE, HOME_ZONE),
    "embedding": (HOME_ZONE, "local/b"),
    "inference": (HOME_ZONE, "local/b", "far/c"),
}
"""One replica for each; of other workloads one in the home zone."""


def world_pods(registry: Registry) -> list[Pod]:
    """In the order of the workloads; `rag-canary`, which a cluster scales to 0 at first, has one too."""
    pods: list[Pod] = []
    for workload in registry.workloads:
        for number, zone in enumerate(ZONES.get(workload.name, (HOME_ZONE,))):
            # A process of its own, which the proxy on the edge has not.
            app = "" if workload.app == "edge" else f"127.0.0.1:{APP_PORT + len(pods)}"
            pods.append(Pod(f"{workload.name}-{number}", workload, mesh_address(EDGE_PORT, len(pods) + 1), app, zone))
    return pods
