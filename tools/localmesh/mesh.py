"""All that Envoy's configuration is made of, and the names that its pieces have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tools.localmesh.pods import Pod
from tools.localmesh.rules.faults import Fault
from tools.localmesh.rules.rules import Rules
from tools.localmesh.workloads import Registry, Service, ServicePort

Json = dict[str, Any]
"""A message of Envoy's, as its JSON is: field names in snake_case, durations as "1.5s"."""


@dataclass(frozen=True)
class Edge:
    """Where the edge listens, host:port. With a certificate (PEM files) the HTTPS server of the Gateway is served
    there, and no other; without, its plain one."""

    listen: str
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Mesh:
    """The whole: workloads, replicas, rules, and what is set for this stack alone.

    `certificates`: the folder of `SA.pem` for each service account SA (chain and key), and of `authorities.pem`.
    `ready`: names of the pods that may get calls. `drills`: faults put on all calls to a Service, by its host.
    """

    registry: Registry
    pods: tuple[Pod, ...]
    rules: Rules
    edge: Edge
    certificates: Path
    ready: frozenset[str] = frozenset()
    drills: Mapping[str, Fault] = field(default_factory=dict)

    def pods_of(self, service: Service) -> list[Pod]:
        """In the order of their names' appearance."""
        return [pod for pod in self.pods if service.selects(pod.workload.labels)]

    def ports_of(self, pod: Pod) -> list[tuple[Service, ServicePort]]:
        """Services and ports that the pod is behind; the edge is behind none: it is outside."""
        services = self.registry.services_of(pod.workload) if pod.app else ()
        return [(service, port) for service in services for port in service.ports]

    def with_ready(self, names: Iterable[str]) -> Mesh:
        return replace(self, ready=frozenset(names))


def cluster_name(client: Pod, service: Service, port: ServicePort, subset: str = "") -> str:
    """A client's way to the replicas of a Service, or of a subset of it; Istio's name and the client's."""
    return f"outbound|{port.number}|{subset}|{service.host}@{client.name}"


def inbound_cluster_name(pod: Pod, port: ServicePort) -> str:
    """The way from a pod's proxy to its process."""
    return f"inbound|{port.target}||@{pod.name}"


def outbound_name(client: Pod, service: Service, port: ServicePort) -> str:
    """Of the listener and of the route configuration."""
    return f"outbound|{service.host}:{port.number}@{client.name}"


def inbound_name(pod: Pod, port: ServicePort) -> str:
    """Of the listener and of the route configuration."""
    return f"inbound|{port.target}@{pod.name}"


def typed(name: str, /, **fields: Any) -> Json:
    """A message inside an Any; `name` is its full name, such as envoy.config.core.v3.Address."""
    return {"@type": f"type.googleapis.com/{name}", **fields}
