"""Which services and workloads there are, from the manifests of `k8s/base`: the one list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.documents import Document, read_documents
from tools.localmesh.nodes import Node

BASE = REPOSITORY_ROOT / "k8s" / "base"
CLUSTER_DOMAIN = "cluster.local"
INJECT = "sidecar.istio.io/inject"


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service; its pods listen on `target`. The name begins with the protocol, as Istio asks."""

    name: str
    number: int
    target: int

    @property
    def protocol(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Service:
    """A Service of Kubernetes: a name for the pods whose labels it selects."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{CLUSTER_DOMAIN}"

    def selects(self, labels: Mapping[str, str]) -> bool:
        return bool(self.selector) and includes(labels, self.selector)


@dataclass(frozen=True)
class Workload:
    """A Deployment: `labels` are its pods'. `environment` has the plain values only."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    replicas: int
    environment: Mapping[str, str]
    in_mesh: bool

    @property
    def app(self) -> str:
        """What the pods run; workloads that differ in labels only share it."""
        return self.labels["app"]

    @property
    def principal(self) -> str:
        """Who it is, as policies write it."""
        return f"{CLUSTER_DOMAIN}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def identity(self) -> str:
        """What its certificates say (SPIFFE)."""
        return f"spiffe://{self.principal}"


@dataclass(frozen=True)
class Registry:
    """All services and workloads."""

    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]

    def service(self, host: str) -> Service | None:
        """By its full host name."""
        return next((service for service in self.services if service.host == host), None)

    def workload(self, name: str) -> Workload:
        """Raises KeyError."""
        for workload in self.workloads:
            if workload.name == name:
                return workload
        raise KeyError(name)

    def services_of(self, workload: Workload) -> list[Service]:
        """Those that the workload's pods are behind."""
        return [service for service in self.services if service.selects(workload.labels)]

    def behind(self, service: Service) -> list[Workload]:
        """The workloads in the mesh whose pods are behind a Service."""
        return [workload for workload in self.workloads if workload.in_mesh and service.selects(workload.labels)]

    def is_in_mesh(self, service: Service) -> bool:
        """Whether its pods have sidecars."""
        return bool(self.behind(service))

    def addresses(self, workload: Workload) -> dict[str, tuple[Service, ServicePort]]:
        """The variables of the workload's environment that are HOST:PORT of a Service, and which that is."""
        found = {}
        for name, value in workload.environment.items():
            host, _, number = value.rpartition(":")
            service = self.service(host)
            for port in service.ports if service else ():
                if service and str(port.number) == number:
                    found[name] = (service, port)
        return found

    def dialled_by(self, workload: Workload) -> list[tuple[Service, ServicePort]]:
        """What the workload is told to dial in the mesh."""
        return [address for address in self.addresses(workload).values() if self.is_in_mesh(address[0])]


def includes(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the labels have all that is wanted."""
    return all(labels.get(name) == value for name, value in wanted.items())


def read_registry(folder: Path = BASE) -> Registry:
    """Raises MeshError where a manifest does not say what is needed here."""
    documents = read_documents(folder)
    injected = {
        document.name
        for document in documents
        if document.kind == "Namespace"
        and _labels(document.root.entries()["metadata"]).get("istio-injection") == "enabled"
    }
    deployments = [_workload(document, injected) for document in documents if document.kind == "Deployment"]
    services = [_service(document, documents) for document in documents if document.kind == "Service"]
    return Registry(tuple(services), tuple(deployments))


def _workload(document: Document, injected: set[str]) -> Workload:
    spec = _under(document.root, "spec")
    template = _under(spec, "template")
    labels = _labels(_under(template, "metadata"))
    if "app" not in labels:
        raise template.problem("its pods need a label app")
    pod = _under(template, "spec")
    containers = _under(pod, "containers").items()
    if not containers:
        raise _under(pod, "containers").problem("must not be empty")
    account = _under(pod, "serviceAccountName").text()
    replicas = spec.entries()["replicas"].integer(0, 1000) if "replicas" in spec.entries() else 1
    in_mesh = document.namespace in injected and labels.get(INJECT, "true") == "true"
    return Workload(document.name, document.namespace, account, labels, replicas, _environment(containers[0]), in_mesh)


def _environment(container: Node) -> dict[str, str]:
    """Variables whose values are written in the manifest."""
    listed = container.entries().get("env")
    items = [item for item in listed.items() if "value" in item.entries()] if listed else []
    return {_under(item, "name").text(): _under(item, "value").text(empty=True) for item in items}


def _service(document: Document, documents: Sequence[Document]) -> Service:
    spec = _under(document.root, "spec").entries()
    selector = spec["selector"].texts_by_name() if "selector" in spec else {}
    ports = []
    for item in spec["ports"].items() if "ports" in spec else ():
        fields = item.fields("protocol", required=("name", "port", "targetPort"))
        number = fields["port"].integer(1, 65535)
        ports.append(ServicePort(fields["name"].text(), number, _target(fields["targetPort"], selector, documents)))
    return Service(document.name, document.namespace, selector, tuple(ports))


def _target(target: Node, selector: Mapping[str, str], documents: Sequence[Document]) -> int:
    """The number of a port of the pods, which may be called by its name."""
    if not target.is_text:
        return target.integer(1, 65535)
    for document in documents:
        if document.kind != "Deployment":
            continue
        template = _under(_under(document.root, "spec"), "template")
        if not includes(_labels(_under(template, "metadata")), selector):
            continue
        for container in _under(_under(template, "spec"), "containers").items():
            ports = container.entries().get("ports")
            for port in ports.items() if ports else ():
                fields = port.entries()
                if "name" in fields and fields["name"].text() == target.text():
                    return _under(port, "containerPort").integer(1, 65535)
    raise target.problem(f"no pod that the Service selects has a port called {target.text()!r}")


def _under(node: Node, name: str) -> Node:
    found = node.entries()
    if name not in found:
        raise node.problem(f"{name} is missing; add it")
    return found[name]


def _labels(metadata: Node) -> dict[str, str]:
    labels = metadata.entries().get("labels")
    return labels.texts_by_name() if labels else {}
