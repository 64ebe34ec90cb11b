"""What the local translator makes of rules, read as istiod's configuration is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.localmesh.mesh import Edge, Folders, Mesh, inbound_name, outbound_name
from tools.localmesh.pods import Pod
from tools.localmesh.rules.read import read_rules
from tools.localmesh.translate import Resources, translate
from tools.localmesh.workloads import Registry
from tools.meshjudge.meaning.listeners import inbound_chain, manager_of
from tools.meshjudge.meaning.message import UnreadError, reading
from tools.meshjudge.meaning.proxy import (
    Json,
    Meaning,
    clusters_meaning,
    edge_meaning,
    inbound_meaning,
    outbound_meaning,
)
from tools.meshjudge.summary import Parts, parts_of
from tools.meshjudge.world import EDGE_PORT

NOWHERE = Path("/nonexistent/meshjudge")
"""Nothing is read or written there: files are only named."""


def local_parts(registry: Registry, pods: Sequence[Pod], folder: Path) -> Parts:
    """What the rules that a folder's kustomization lists mean to each pod's proxy, and to the edge with a certificate
    and without. Raises MeshError where the translator does not take them."""
    rules = read_rules(folder, registry)
    names = frozenset(pod.name for pod in pods)
    edge = Edge(f"127.0.0.1:{EDGE_PORT}")
    mesh = Mesh(registry, tuple(pods), rules, edge, Folders(NOWHERE / "xds", NOWHERE / "certificates"), names)
    with_certificate = replace(mesh, edge=replace(edge, certificate=NOWHERE / "edge.pem", key=NOWHERE / "edge.key"))
    https = {server.https for gateway in rules.gateways for server in gateway.servers}
    sides = {False: mesh, True: with_certificate}
    translated = {side: translate(sides[side]) for side in (https or {False})}
    meanings = {pod.name: _pod(mesh, pod, next(iter(translated.values()))) for pod in pods if pod.workload.in_mesh}
    for pod in pods:
        if not pod.app:
            meanings[pod.name] = _edge(mesh, pod, translated)
    return parts_of(meanings)


def _pod(mesh: Mesh, pod: Pod, resources: Resources) -> Meaning:
    if not pod.app:
        return {}
    outbound: Json = {}
    for service, port in mesh.registry.dialled_by(pod.workload):
        listener = resources.listeners[outbound_name(pod, service, port)]
        with reading("Listener", listener) as message:
            (filter_chain,) = message.take("filter_chains")
        config = manager_of(filter_chain)
        if config is None or "transport_socket" in filter_chain:
            raise UnreadError(f"a way out that is not plain HTTP: {listener['name']}")
        outbound[f"{service.host}:{port.number}"] = outbound_meaning(config, resources.routes, None)
    inbound: Json = {}
    for _, port in mesh.ports_of(pod):
        with reading("Listener", resources.listeners[inbound_name(pod, port)]) as message:
            chains = message.take("filter_chains")
        inbound[str(port.target)] = inbound_meaning(chains, resources.routes, resources.clusters)
    return {
        "outbound": outbound,
        "clusters": clusters_meaning(_given(pod, resources), outbound.values(), _names(mesh)),
        "inbound": inbound,
    }


def _edge(mesh: Mesh, pod: Pod, translated: dict[bool, Resources]) -> Meaning:
    """Its servers by their ports in a cluster. A laptop has one of them, by whether there is a certificate."""
    servers: Json = {}
    clusters: Json = {}
    for https, resources in translated.items():
        numbers = [
            server.number
            for gateway in mesh.rules.gateways
            if gateway.selects(pod.workload.labels)
            for server in gateway.servers
            if server.https is https
        ]
        others = {name for name in resources.listeners if "@" not in name}
        for number, name in zip(numbers, sorted(others), strict=True):
            with reading("Listener", resources.listeners[name]) as message:
                (filter_chain,) = message.take("filter_chains")
            servers[str(number)] = inbound_chain(filter_chain, resources.routes)
        clusters |= clusters_meaning(_given(pod, resources), servers.values(), _names(mesh))
    return edge_meaning(servers) | {"clusters": clusters}


def _given(pod: Pod, resources: Resources) -> dict[str, list[Json]]:
    """The clusters and endpoints that are the pod's."""
    suffix = f"@{pod.name}"
    return {
        "clusters": [each for name, each in resources.clusters.items() if name.endswith(suffix)],
        "endpoints": [each for name, each in resources.endpoints.items() if name.endswith(suffix)],
    }


def _names(mesh: Mesh) -> dict[str, str]:
    return {pod.ip: pod.name for pod in mesh.pods}
