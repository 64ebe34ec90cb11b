"""Gateway: the ports of the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.workloads import includes

PLAIN = ("HTTP", "HTTP2", "GRPC")
TLS_VERSIONS = ("TLSV1_2", "TLSV1_3")


@dataclass(frozen=True)
class Server:
    """A port of the edge. `hosts` are the names that callers may use. `https`: it speaks TLS, from `least_tls` on."""

    number: int
    name: str
    https: bool
    hosts: tuple[str, ...]
    least_tls: str
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Gateway:
    """For the workloads of its namespace with the selector's labels."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    servers: tuple[Server, ...]
    place: Place = field(compare=False)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return self.namespace == namespace and includes(labels, self.selector)


def read_gateway(document: Document) -> Gateway:
    """Raises MeshError."""
    spec = document.spec()
    if spec is None:
        raise document.root.problem("spec is missing; add it")
    fields = spec.fields(required=("selector", "servers"))
    selector = fields["selector"].texts_by_name()
    if not selector:
        raise fields["selector"].problem("selects every workload; name the edge's labels")
    servers = tuple(_server(item) for item in fields["servers"].items())
    if not servers:
        raise fields["servers"].problem("must not be empty")
    for what in ("number", "name"):
        seen: set[object] = set()
        for item, server in zip(fields["servers"].items(), servers, strict=True):
            value = getattr(server, what)
            if value in seen:
                raise item.problem(f"another server has the {what} {value} too; each has its own here")
            seen.add(value)
    return Gateway(document.name, document.namespace, selector, servers, document.place)


def _server(node: Node) -> Server:
    fields = node.fields("tls", required=("port", "hosts"))
    port = fields["port"].fields(required=("number", "name", "protocol"))
    protocol = port["protocol"].choice(*PLAIN, "HTTPS")
    https = protocol == "HTTPS"
    if https != ("tls" in fields):
        why = "HTTPS needs tls: {mode: SIMPLE, ...}" if https else f"{protocol} has no tls; make it HTTPS"
        raise (node if https else fields["tls"]).problem(why)
    least_tls = _least_tls(fields["tls"]) if https else TLS_VERSIONS[0]
    return Server(
        port["number"].integer(1, 65535), port["name"].text(), https, _hosts(fields["hosts"]), least_tls, node.place
    )


def _least_tls(node: Node) -> str:
    """The certificate's name is the cluster's; a laptop is given files."""
    fields = node.fields("minProtocolVersion", required=("mode", "credentialName"))
    fields["mode"].choice("SIMPLE")
    fields["credentialName"].text()
    least = fields.get("minProtocolVersion")
    return least.choice(*TLS_VERSIONS) if least else TLS_VERSIONS[0]


def _hosts(node: Node) -> tuple[str, ...]:
    hosts = node.texts()
    if not hosts:
        raise node.problem("must not be empty")
    for item in node.items():
        if item.text() != "*":
            raise item.problem('only "*" is supported: the edge is asked by whatever name the machine has')
    return tuple(hosts)
