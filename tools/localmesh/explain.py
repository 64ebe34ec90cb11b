"""The way of a call through the mesh, and the file and line that each of its steps comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from libs.contracts.headers import CALL_PRIORITY, PRIORITIES
from libs.contracts.policies import Method, methods
from tools.localmesh.envoy.clusters import edge_targets
from tools.localmesh.envoy.ways import Target, edge_ways, mesh_ways
from tools.localmesh.explain_hop import ANY_METHOD, Hop, Step, hop
from tools.localmesh.mesh import Edge, Mesh
from tools.localmesh.pods import Pod, outbound_address
from tools.localmesh.rules.judging import Call
from tools.localmesh.state import Paths, read_mesh
from tools.localmesh.told import read_status
from tools.localmesh.workloads import Service, ServicePort

GATEWAY = "gateway"
OF_A_METHOD = frozenset({"route", "match", "handed on", "timeout", "retries"})
"""Steps that are told only where it is known which method is called."""


class ExplainError(Exception):
    """There is nothing to explain; the message says what there is."""


@dataclass(frozen=True)
class Explanation:
    """`hops`: the way of the call itself, from the edge on. `further`: the calls that the service may make for it."""

    method: str
    priority: str
    hops: tuple[Hop, ...]
    further: tuple[Hop, ...]

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"{self.method} with priority {self.priority}"
        for number, one in enumerate((*self.hops, *self.further)):
            if number == len(self.hops):
                yield ""
                yield "What the service itself may call, with the same priority:"
            yield ""
            yield f"{one.client} -> {one.service}, at {one.listener}"
            width = max(len(step.what) for step in one.steps)
            for step in one.steps:
                yield f"  {step.what:{width}}  {step.value}" + (f"  ({step.place})" if step.place else "")

    def json(self) -> dict[str, Any]:
        """For a program: `place` is {file, line}, or null."""
        entries = asdict(self)
        for one in (*entries["hops"], *entries["further"]):
            for step in one["steps"]:
                if step["place"]:
                    step["place"]["file"] = str(step["place"]["file"])
        return entries


def explain_call(state: Path, method: str, priority: str = "normal") -> Explanation:
    """How the mesh whose folder is `state` treats a call of a method ("/package.Service/Method", "Service.Method") to
    which the gateway gives that priority.

    The rules are those in the files now. Raises ExplainError for an unknown method or priority, or where no mesh has
    run; MeshError where the files cannot be used.
    """
    found = _method(method)
    if priority not in PRIORITIES:
        raise ExplainError(f"{priority!r} is no priority; what is: {', '.join(PRIORITIES)}")
    status = read_status(state)
    if status is None:
        raise ExplainError(f"no mesh has run in {state}: start one with `weft up`")
    paths = Paths(state, Path(status.rules_folder), Path(status.base_folder))
    edge = Edge(status.edge, Path(status.certificate) if status.certificate else None)
    mesh = read_mesh(paths, edge).with_ready(status.ready)
    return explain(mesh, found, priority)


def explain(mesh: Mesh, method: Method, priority: str) -> Explanation:
    """As `explain_call`, of a mesh that is there."""
    hops = [_from_outside(mesh, method)]
    if method.served_by != GATEWAY:
        client = _first_pod(mesh, GATEWAY)
        service, port = _dialled(mesh, client, method.served_by)
        hops.append(_between(mesh, client, service, port, method.path, priority))
    further = tuple(_further(mesh, method.served_by, priority)) if method.served_by != GATEWAY else ()
    return Explanation(method.path, priority, tuple(hops), further)


def _method(name: str) -> Method:
    """By its path, or by the end of it that names a service and a method, with a dot or a slash before the method."""
    known, path = methods(), f"/{name.removeprefix('/')}"
    asked = path.replace("/", ".").lower()
    ends = [one for one in known if one.replace("/", ".").lower().endswith(asked)]
    if len(ends) == 1 and "." in asked[1:]:
        return known[ends[0]]
    near = ends[:5] or get_close_matches(path, known, n=3, cutoff=0.5)
    hint = "; do you mean " + " or ".join(one[1:] for one in near) + "?" if near else ": package.Service/Method"
    raise ExplainError(f"no contract has a method {name!r}{hint}")


def _from_outside(mesh: Mesh, method: Method) -> Hop:
    """What a caller sends as a priority does not come in."""
    for pod, gateway in product(mesh.pods, mesh.rules.gateways):
        if pod.app or not gateway.selects(pod.workload.namespace, pod.workload.labels):
            continue
        server = next((one for one in gateway.servers if one.https == bool(mesh.edge.certificate)), None)
        targets = edge_targets(mesh, pod, gateway, server) if server else []
        if server is None or not targets:
            raise ExplainError(f"{gateway.place}: no call comes in at Gateway {gateway.name} as the stack was started")
        ways = [way for ways in edge_ways(mesh, pod, gateway, server).values() for way in ways]
        call = Call(method.path, {}, pod.workload, mesh.edge.listen)
        made = hop(mesh, pod, targets[0], ways, call, mesh.edge.listen)
        step = Step("server", f"{server.name} of Gateway {gateway.name}", server.place)
        return replace(made, steps=(step, *made.steps))
    raise ExplainError("the mesh has no edge: no pod has the labels that a Gateway selects")


def _between(mesh: Mesh, client: Pod, service: Service, port: ServicePort, path: str, priority: str) -> Hop:
    headers = {CALL_PRIORITY: priority, "content-type": "application/grpc"}
    name = f"{service.host}:{port.number}"
    call = Call(path, headers, client.workload, name, f"outbound_.{port.number}_._.{service.host}")
    ways = mesh_ways(mesh, client, service, port)
    return hop(mesh, client, Target(service, port), ways, call, _listener(mesh, client, service, port))


def _further(mesh: Mesh, app: str, priority: str) -> Iterator[Hop]:
    """The calls that each service on the way may make: which methods is its own affair, so this is where all go that
    have no rules of their own."""
    seen, waiting = set(), [app]
    while waiting:
        name = waiting.pop(0)
        clients = [pod for pod in mesh.pods if pod.workload.app == name and pod.app]
        for client in clients:
            for service, port in mesh.registry.dialled_by(client.workload):
                if (name, service.name) in seen:
                    continue
                seen.add((name, service.name))
                made = _between(mesh, client, service, port, ANY_METHOD, priority)
                yield replace(made, steps=tuple(step for step in made.steps if step.what not in OF_A_METHOD))
                waiting += {pod.workload.app for pod in mesh.pods_of(service)}


def _dialled(mesh: Mesh, client: Pod, app: str) -> tuple[Service, ServicePort]:
    for service, port in mesh.registry.dialled_by(client.workload):
        if service.name == app:
            return service, port
    raise ExplainError(f"{client.workload.name} does not dial {app}: its manifest names no address of it")


def _first_pod(mesh: Mesh, app: str) -> Pod:
    for pod in mesh.pods:
        if pod.workload.app == app:
            return pod
    raise ExplainError(f"no pod of {app} runs")


def _listener(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> str:
    address, number = outbound_address(mesh.registry, client, service, port)
    return f"{address}:{number}"
