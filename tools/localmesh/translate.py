"""A mesh as all that its Envoy needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tools.localmesh.envoy.clusters import endpoints, outbound_clusters
from tools.localmesh.envoy.listeners import edge, inbound, outbound
from tools.localmesh.envoy.routes import outbound_routes
from tools.localmesh.envoy.tls import secrets
from tools.localmesh.mesh import Json, Mesh, cluster_name
from tools.localmesh.pods import Pod


@dataclass(frozen=True)
class Resources:
    """Envoy's resources by their names. `endpoints` are those of the outbound clusters."""

    listeners: dict[str, Json] = field(default_factory=dict)
    clusters: dict[str, Json] = field(default_factory=dict)
    routes: dict[str, Json] = field(default_factory=dict)
    endpoints: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)


def translate(mesh: Mesh) -> Resources:
    """The edge, and the inbound and outbound side of each pod. The same mesh gives the same resources, in one order.

    Raises MeshError for rules that would not mean here what they mean in a cluster.
    """
    found = Resources(secrets=secrets(mesh))
    for pod in (pod for pod in mesh.pods if pod.workload.in_mesh):
        routes = list(_edge(mesh, pod, found)) + list(_outbound(mesh, pod, found))
        found.clusters.update(_outbound_clusters(mesh, pod, routes))
        found.routes.update(_by_name(routes))
        for service, port in mesh.ports_of(pod):
            listener, route, cluster = inbound(mesh, pod, service, port)
            found.listeners[listener["name"]] = listener
            found.routes[route["name"]] = route
            found.clusters[cluster["name"]] = cluster
    found.endpoints.update(translate_endpoints(mesh, found.clusters))
    return found


def translate_endpoints(mesh: Mesh, clusters: Iterable[str]) -> dict[str, Json]:
    """The endpoints of those clusters that are outbound: what alone changes when pods come and go."""
    wanted = set(clusters)
    found = {}
    for service in mesh.registry.services:
        rules = [rule for rule in mesh.rules.destination_rules if rule.host == service.host]
        subsets = ["", *(subset.name for rule in rules for subset in rule.subsets)]
        for client, port, subset in product(mesh.pods, service.ports, subsets):
            name = cluster_name(client, service, port, subset)
            if name in wanted:
                found[name] = endpoints(mesh, client, service, port, subset)
    return found


def _edge(mesh: Mesh, pod: Pod, found: Resources) -> Iterator[Json]:
    """The routes of the Gateways that a pod without a process stands for."""
    for gateway in mesh.rules.gateways if not pod.app else ():
        if gateway.selects(pod.workload.namespace, pod.workload.labels):
            listener, routes = edge(mesh, pod, gateway)
            found.listeners[listener["name"]] = listener
            yield from routes


def _outbound(mesh: Mesh, pod: Pod, found: Resources) -> Iterator[Json]:
    """The routes to what the pod's process dials."""
    for service, port in mesh.registry.dialled_by(pod.workload) if pod.app else ():
        listener = outbound(mesh, pod, service, port)
        found.listeners[listener["name"]] = listener
        yield outbound_routes(mesh, pod, service, port)


def _outbound_clusters(mesh: Mesh, pod: Pod, routes: Iterable[Json]) -> dict[str, Json]:
    """Those that a client's routes lead to: one kept for nobody costs memory, and questions that Envoy keeps asking."""
    named = {name for route in routes for name in _clusters_named(route)}
    ways = ((service, port) for service in mesh.registry.services for port in service.ports)
    hosts = {name.partition("@")[0].rpartition("|")[2] for name in named}
    found: dict[str, Json] = {}
    for service, port in ways:
        if service.host in hosts:
            found |= _by_name(outbound_clusters(mesh, pod, service, port))
    return {name: cluster for name, cluster in found.items() if name in named}


def _clusters_named(part: Any) -> Iterator[str]:
    """The names of clusters anywhere in a route configuration."""
    if isinstance(part, list):
        for item in part:
            yield from _clusters_named(item)
    elif isinstance(part, Mapping):
        weighted = part.get("weighted_clusters", {}).get("clusters", ())
        yield from (cluster["name"] for cluster in weighted)
        for name, value in part.items():
            if name == "cluster" and isinstance(value, str):
                yield value
            else:
                yield from _clusters_named(value)


def _by_name(resources: Iterable[Json]) -> dict[str, Json]:
    return {resource["name"]: resource for resource in resources}
