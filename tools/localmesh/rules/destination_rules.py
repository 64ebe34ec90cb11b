"""DestinationRule: how calls are spread over the replicas of a host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.hosts import full_name, read_private
from tools.localmesh.rules.traffic_policies import TrafficPolicy, read_traffic_policy

_SUBSET = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Subset:
    """The replicas with these labels (none: all)."""

    name: str
    labels: Mapping[str, str]
    place: Place = field(compare=False)
    path: str = field(default="", compare=False)
    policy: TrafficPolicy | None = None


@dataclass(frozen=True)
class DestinationRule:
    """For a host, which is a full name. `private`: for clients of its own namespace only."""

    name: str
    namespace: str
    host: str
    place: Place = field(compare=False)
    policy: TrafficPolicy = field(default_factory=TrafficPolicy)
    subsets: tuple[Subset, ...] = ()
    private: bool = False

    def subset(self, name: str) -> Subset | None:
        """By its name."""
        return next((subset for subset in self.subsets if subset.name == name), None)

    def effective(self, subset: str, port: int) -> TrafficPolicy:
        """What holds for a port of the Service, in a subset ("" is none, an unknown one too).

        What a subset writes replaces the same part of the host's as a whole; its policy for a port replaces
        all parts but the retry budget (MergeSubsetTrafficPolicy in istio/pilot/pkg/networking/util).
        """
        host = self.policy.of_port(port)
        found = self.subset(subset)
        if found is None or found.policy is None:
            return host
        own = found.policy.of_port(port)
        if port in found.policy.ports:
            return replace(own, retry_budget=host.retry_budget)
        return TrafficPolicy(
            own.place,
            own.load_balancer or host.load_balancer,
            own.connection_pool or host.connection_pool,
            own.outlier_detection or host.outlier_detection,
            own.tls or host.tls,
            own.retry_budget or host.retry_budget,
        )


def read_destination_rule(document: Document) -> DestinationRule:
    """Raises MeshError."""
    spec = document.spec()
    if spec is None:
        raise document.root.problem("spec is missing; add it")
    fields = spec.fields("trafficPolicy", "subsets", "exportTo", required=("host",))
    subsets: list[Subset] = []
    for item in fields["subsets"].items() if "subsets" in fields else ():
        subset = _subset(item)
        for other in subsets:
            if other.name == subset.name:
                raise item.problem(f"{subset.name} is already at {other.place}; give each its own name")
            if other.labels == subset.labels:
                raise item.problem(f"{subset.name} has the labels of {other.name} ({other.place}); make them differ")
        subsets.append(subset)
    return DestinationRule(
        document.name,
        document.namespace,
        full_name(fields["host"], document.namespace),
        document.place,
        read_traffic_policy(fields["trafficPolicy"]) if "trafficPolicy" in fields else TrafficPolicy(),
        tuple(subsets),
        read_private(fields.get("exportTo")),
    )


def _subset(node: Node) -> Subset:
    fields = node.fields("labels", "trafficPolicy", required=("name",))
    name = fields["name"].text()
    if not _SUBSET.fullmatch(name):
        raise fields["name"].problem(f"{name!r} is no name of a subset: small letters, digits and -, at most 63")
    labels = fields["labels"].texts_by_name() if "labels" in fields else {}
    policy = read_traffic_policy(fields["trafficPolicy"]) if "trafficPolicy" in fields else None
    return Subset(name, labels, node.place, node.path, policy)
