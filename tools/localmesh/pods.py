"""The replicas that run: where each one's proxy and process listen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.config.files import write_whole
from tools.localmesh.workloads import Registry, Service, ServicePort, Workload

PODS = "pods.json"
"""In the mesh's folder."""
FIRST_OUTBOUND_PORT = 15001
HOME_ZONE = "local/a"


@dataclass(frozen=True)
class Pod:
    """A replica. `ip` is its loopback address in the mesh, `app` is where its process listens (host:port; "" for the
    edge, which is nothing but a proxy), `zone` is region/zone."""

    name: str
    workload: Workload
    ip: str
    app: str
    zone: str = HOME_ZONE


def mesh_address(edge_port: int, number: int) -> str:
    """The address of a stack's nth pod (from 1, up to 254): stacks differ in the port of their edge, so here too."""
    high, low = divmod(edge_port, 256)
    # 127.0.0.x is everybody's; ports below 256 are nobody's edge.
    return f"127.{high}.{low}.{number}"


def inbound_address(pod: Pod, port: ServicePort) -> tuple[str, int]:
    """Where the pod's proxy takes calls to a port of its Service."""
    return pod.ip, port.target


def outbound_address(registry: Registry, pod: Pod, service: Service, port: ServicePort) -> tuple[str, int]:
    """Where the pod's own process dials to reach a Service: one address for each, whatever else it dials."""
    everything = [(one, each) for one in registry.services for each in one.ports]
    return pod.ip, FIRST_OUTBOUND_PORT + everything.index((service, port))


def write_pods(path: Path, pods: Sequence[Pod]) -> None:
    """For `read_pods`."""
    entries = [
        {"name": pod.name, "workload": pod.workload.name, "ip": pod.ip, "app": pod.app, "zone": pod.zone}
        for pod in pods
    ]
    write_whole(path, json.dumps(entries, indent=1) + "\n")


def read_pods(path: Path, registry: Registry) -> list[Pod]:
    """Raises OSError, and KeyError for a workload that is no more."""
    entries: Iterable[Mapping[str, str]] = json.loads(path.read_text())
    return [
        Pod(entry["name"], registry.workload(entry["workload"]), entry["ip"], entry["app"], entry["zone"])
        for entry in entries
    ]
