"""What the local translator makes of rules, read as istiod's configuration is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.localmesh.mesh import Edge, Mesh, inbound_cluster_name, inbound_name, outbound_name
from tools.localmesh.pods import Pod, inbound_address, outbound_address
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
from tools.meshjudge.meaning.transport import AUTHORITIES, GATEWAYS, OWN, with_secrets
from tools.meshjudge.summary import Parts, parts_of
from tools.meshjudge.world import EDGE_PORT

NOWHERE = Path("/nonexistent/meshjudge")
"""Nothing is read or written there: files are only named."""
CERTIFICATES = NOWHERE / "certificates"
PLAIN_EDGE = Edge(f"127.0.0.1:{EDGE_PORT}")
HTTPS_EDGE = replace(PLAIN_EDGE, certificate=NOWHERE / "edge.pem", key=NOWHERE / "edge.key")


def local_parts(registry: Registry, pods: Sequence[Pod], folder: Path) -> Parts:
    """What the rules that a folder's kustomization lists mean to each pod's proxy, and to the edge with a certificate
    and without. Raises MeshError where the translator does not take them."""
    rules = read_rules(folder, registry)
    names = frozenset(pod.name for pod in pods)
    mesh = Mesh(registry, tuple(pods), rules, PLAIN_EDGE, CERTIFICATES, names)
    return translated_parts(mesh, pods, {side.edge: translate(side) for side in sides(mesh)})


def sides(mesh: Mesh) -> list[Mesh]:
    """The mesh with each kind of edge that its Gateways have a server for."""
    kinds = {server.https for gateway in mesh.rules.gateways for server in gateway.servers}
    return [replace(mesh, edge=edge) for edge in (PLAIN_EDGE, HTTPS_EDGE) if (edge is HTTPS_EDGE) in kinds]


def translated_parts(mesh: Mesh, pods: Iterable[Pod], translated: Mapping[Edge, Resources]) -> Parts:
    """What the translator's resources, for each kind of edge, mean to some of the mesh's pods. Only the edge has more
    than one kind."""
    some = next(iter(translated.values()))
    secrets = {name: secret for resources in translated.values() for name, secret in resources.secrets.items()}
    meanings = {}
    for pod in pods:
        if pod.workload.in_mesh:
            meaning = _pod(mesh, pod, some) if pod.app else _edge(mesh, pod, translated.values())
            meanings[pod.name] = with_secrets(meaning, _secrets(mesh, pod, secrets))
    return parts_of(meanings)


class _Own:
    """A pod's part of the resources, all names in it as they are in a proxy of its own. A name of another pod's keeps
    that pod's, and is found missing."""

    def __init__(self, mesh: Mesh, pod: Pod, resources: Resources) -> None:
        self._suffix = f"@{pod.name}"
        self._names = {each.ip: each.name for each in mesh.pods}
        self.listeners = self._part(resources.listeners)
        self.clusters = self._part(resources.clusters)
        self.routes = self._part(resources.routes)
        self.endpoints = self._part(resources.endpoints)

    def called(self, name: str) -> str:
        """A name without the pod's."""
        return name.removesuffix(self._suffix)

    def clusters_of(self, users: Iterable[Json]) -> Json:
        """The meaning of those that the users' routes name."""
        given = {"clusters": list(self.clusters.values()), "endpoints": list(self.endpoints.values())}
        return clusters_meaning(given, users, self._names)

    def _part(self, of: Mapping[str, Json]) -> dict[str, Json]:
        return {self.called(name): self._renamed(each) for name, each in of.items() if name.endswith(self._suffix)}

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._renamed(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._renamed(each) for each in value]
        return self.called(value) if isinstance(value, str) else value


def _pod(mesh: Mesh, pod: Pod, resources: Resources) -> Meaning:
    own = _Own(mesh, pod, resources)
    outbound: Json = {}
    for service, port in mesh.registry.dialled_by(pod.workload):
        listener = own.listeners[own.called(outbound_name(pod, service, port))]
        (filter_chain,) = _chains(listener, outbound_address(mesh.registry, pod, service, port))
        config = manager_of(filter_chain)
        if config is None or "transport_socket" in filter_chain:
            raise UnreadError(f"a way out that is not plain HTTP: {listener['name']}")
        outbound[f"{service.host}:{port.number}"] = outbound_meaning(config, own.routes, None)
    inbound: Json = {}
    for _, port in mesh.ports_of(pod):
        chains = _chains(own.listeners[own.called(inbound_name(pod, port))], inbound_address(pod, port))
        _leads(own.clusters[own.called(inbound_cluster_name(pod, port))], pod.app)
        inbound[str(port.target)] = inbound_meaning(chains, own.routes, own.clusters)
    return {"outbound": outbound, "clusters": own.clusters_of(outbound.values()), "inbound": inbound}


def _edge(mesh: Mesh, pod: Pod, translated: Iterable[Resources]) -> Meaning:
    """Its servers by their ports in a cluster. A laptop has one of them, by whether there is a certificate."""
    servers: Json = {}
    clusters: Json = {}
    for resources in translated:
        own = _Own(mesh, pod, resources)
        for name, listener in own.listeners.items():
            (filter_chain,) = _chains(listener, ("127.0.0.1", EDGE_PORT))
            servers[name.rpartition(":")[2]] = inbound_chain(filter_chain, own.routes)
        clusters |= own.clusters_of(servers.values())
    return edge_meaning(servers) | {"clusters": clusters}


def _chains(listener: Json, address: tuple[str, int]) -> list[Json]:
    """Of a listener on just that address."""
    socket = listener["address"]["socket_address"]
    if (socket["address"], socket["port_value"]) != address:
        raise UnreadError(f"{listener['name']} listens on {socket}, not on {address}")
    with reading("Listener", listener) as message:
        return list(message.take("filter_chains"))


def _leads(cluster: Json, address: str) -> None:
    """To the pod's own process and nowhere else."""
    (locality,) = cluster["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    socket = endpoint["endpoint"]["address"]["socket_address"]
    if f"{socket['address']}:{socket['port_value']}" != address:
        raise UnreadError(f"{cluster['name']} leads to {socket}, not to {address}")


def _secrets(mesh: Mesh, pod: Pod, secrets: Mapping[str, Json]) -> dict[str, str]:
    """What each secret is to the pod, by the files that it is read from."""
    folder = mesh.certificates.absolute()
    files = {
        f"{folder}/{pod.workload.service_account}.pem": OWN,
        f"{folder}/authorities.pem": AUTHORITIES,
        str(NOWHERE / "edge.pem"): GATEWAYS,
    }
    found = {}
    for name, secret in secrets.items():
        certificate = secret.get("tls_certificate", {}).get("certificate_chain", {})
        authorities = secret.get("validation_context", {}).get("trusted_ca", {})
        file = {**certificate, **authorities}["filename"]
        found[name] = files.get(file, file)
    return found
