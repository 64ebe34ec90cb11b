"""One hop of a call: from a client's proxy to a service, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.localmesh.envoy.clusters import destination_rule, traffic_policy
from tools.localmesh.envoy.ways import Target, Way
from tools.localmesh.envoy.ways import target as ways_target
from tools.localmesh.mesh import Mesh
from tools.localmesh.pods import Pod, inbound_address
from tools.localmesh.problems import Place
from tools.localmesh.rules.authorization import concerning
from tools.localmesh.rules.faults import Fault, shown_fault
from tools.localmesh.rules.http_routes import Retries
from tools.localmesh.rules.judging import Call, holds, verdict
from tools.localmesh.rules.matches import Match, TextMatch
from tools.localmesh.rules.peer_authentication import effective
from tools.localmesh.rules.traffic_policies import ConnectionPool, OutlierDetection, TrafficPolicy
from tools.localmesh.workloads import Service, ServicePort, Workload, includes

ANY_METHOD = "/"
"""The path of a call whose method nobody knows."""


@dataclass(frozen=True)
class Step:
    """One thing that is done with a call, and where that is written; None where nothing is: it is a default."""

    what: str
    value: str
    place: Place | None = None


@dataclass(frozen=True)
class Hop:
    """From a client to a service. `listener` is where the client's proxy takes the call, host:port."""

    client: str
    service: str
    listener: str
    steps: tuple[Step, ...]


def hop(mesh: Mesh, client: Pod, target: Target, ways: Sequence[Way], call: Call, listener: str) -> Hop:
    """All that happens to a call on its way to a service. `ways` are those that are tried; without any, it goes to the
    target as it is."""
    way = next((way for way in ways if holds(way.match, call)), None)
    if ways and way is None:
        step = Step("route", "REFUSED: none matches")
        return Hop(client.name, target.service.name, listener, (step,))
    steps = list(_route(way))
    if way is None:
        steps += _replicas(mesh, client, target, "", None)
    else:
        for destination in way.route.destinations:
            share = f"{destination.weight}% to " if len(way.route.destinations) > 1 else ""
            led = ways_target(mesh.registry, way, destination)
            steps += _replicas(mesh, client, led, share, destination.place)
    steps += _faults(mesh, target.service, way.route.fault if way else None)
    steps += admission(mesh, target.service, target.port, call)
    return Hop(client.name, target.service.name, listener, tuple(steps))


def admission(mesh: Mesh, service: Service, port: ServicePort, call: Call) -> Iterator[Step]:
    """Who the two are to each other, and whether the one may call the other."""
    workloads = mesh.registry.behind(service)
    modes = {effective(mesh.rules.peer_authentications, workload, port.target): None for workload in workloads}
    for found in modes:
        yield Step("mutual TLS", found.mode.value, found.place)
    accepted = " or ".join(sorted({workload.identity for workload in workloads}))
    yield Step("identities", f"{call.client.identity} calls {accepted}")
    yield from dict.fromkeys(_verdict(mesh, workload, port, call) for workload in workloads)


def _verdict(mesh: Mesh, workload: Workload, port: ServicePort, call: Call) -> Step:
    relevant = concerning(mesh.rules.authorization_policies, workload)
    by_path = next((policy for policy in relevant if policy.names_paths), None)
    if call.path == ANY_METHOD and by_path:
        said = f"by the method: {by_path.namespace}/{by_path.name} names paths"
        return Step("authorization", said, by_path.place)
    found = verdict(mesh.rules.authorization_policies, workload, port.target, call)
    if found.policy is None:
        return Step("authorization", "allowed: no policy is for it")
    policy = f"{found.policy.namespace}/{found.policy.name}"
    if found.rule is None:
        return Step("authorization", f"REFUSED: no rule lets it in, of {policy} or another", found.policy.place)
    said = f"allowed by {policy}" if found.allowed else f"REFUSED by {policy}"
    return Step("authorization", said, found.rule.place)


def _route(way: Way | None) -> Iterator[Step]:
    if way is None:
        yield Step("route", "no VirtualService is for it: any replica, by Istio's defaults")
        return
    route = way.route
    yield Step("route", way.name or "unnamed", route.place)
    if way.match:
        yield Step("match", shown_match(way.match), way.match.place)
    if route.delegate_place:
        yield Step("handed on", "where calls go is said here", route.delegate_place)
    if route.timeout:
        yield Step("timeout", f"{route.timeout.seconds:g} s", route.timeout.place)
    else:
        yield Step("timeout", "none but the call's own deadline")
    yield _retries(route.retries)


def _retries(retries: Retries | None) -> Step:
    if retries is None:
        return Step("retries", "2, Istio's default")
    if not retries.attempts:
        return Step("retries", "none", retries.place)
    said = f"{retries.attempts}, on {','.join(retries.on) or 'what Istio does by default'}"
    if retries.per_try_timeout_s is not None:
        said += f", each try within {retries.per_try_timeout_s:g} s"
    return Step("retries", said, retries.place)


def shown_match(match: Match) -> str:
    """What a call has to be."""
    parts = [f"{name} {text.how.value} {text.value}" for name, text in _texts(match)]
    parts += [f"header {name} {text.how.value} {text.value}".rstrip() for name, text in match.headers.items()]
    parts += [
        f"not header {name} {text.how.value} {text.value}".rstrip() for name, text in match.without_headers.items()
    ]
    parts += [f"from {name}={value}" for name, value in match.source_labels.items()]
    return ", ".join(parts) or "any call"


def _texts(match: Match) -> Iterator[tuple[str, TextMatch]]:
    for name in ("uri", "method", "authority", "scheme"):
        text = getattr(match, name)
        if text is not None:
            yield name, text


def _replicas(mesh: Mesh, client: Pod, target: Target, share: str, place: Place | None) -> Iterator[Step]:
    """Where calls go: which replicas, and how they are spread over these."""
    name = f"{target.service.name}, subset {target.subset}" if target.subset else target.service.name
    yield Step("destination", f"{share}{name}", place)
    rule = destination_rule(mesh, client, target.service)
    subset = rule.subset(target.subset) if rule and target.subset else None
    labels = subset.labels if subset else {}
    if subset:
        yield Step("subset", ", ".join(f"{key}={value}" for key, value in labels.items()), subset.place)
    for pod in mesh.pods_of(target.service):
        if includes(pod.workload.labels, labels):
            state = "gets calls" if pod.name in mesh.ready else "not ready"
            address = ":".join(map(str, inbound_address(pod, target.port)))
            yield Step("replica", f"{pod.name} at {address}, process at {pod.app}, zone {pod.zone}: {state}")
    yield from _policy(traffic_policy(mesh, client, target))


def _policy(policy: TrafficPolicy) -> Iterator[Step]:
    balancer = policy.load_balancer
    said = f"{balancer.simple}{', the nearest first' if balancer.locality else ''}" if balancer else "LEAST_REQUEST"
    yield Step("balancing", said, balancer.place if balancer else None)
    if policy.connection_pool:
        yield Step("limits", _pool(policy.connection_pool), policy.connection_pool.place)
    if policy.outlier_detection:
        yield Step("outliers", _outliers(policy.outlier_detection), policy.outlier_detection.place)
    tls = policy.tls
    yield Step("TLS to it", tls.mode if tls else "ISTIO_MUTUAL where it takes it", tls.place if tls else None)


def _pool(pool: ConnectionPool) -> str:
    parts = {
        "connections": pool.max_connections,
        "calls": pool.http2_max_requests,
        "waiting": pool.http1_max_pending_requests,
        "retries": pool.max_retries,
    }
    said = [f"{value} {name}" for name, value in parts.items() if value]
    if pool.connect_timeout_s is not None:
        said.append(f"connected within {pool.connect_timeout_s:g} s")
    return ", ".join(said) or "none"


def _outliers(detection: OutlierDetection) -> str:
    counts = {
        "5xx": detection.consecutive_5xx_errors,
        "gateway errors": detection.consecutive_gateway_errors,
        "local failures": detection.consecutive_local_origin_failures,
    }
    said = " or ".join(f"{count} {name} in a row" for name, count in counts.items() if count)
    base = "" if detection.base_ejection_time_s is None else f" for {detection.base_ejection_time_s:g} s"
    most = f", at most {detection.max_ejection_percent}%" if detection.max_ejection_percent else ""
    return f"left out{base} after {said or 'what Envoy takes by default'}{most}"


def _faults(mesh: Mesh, service: Service, fault: Fault | None) -> Iterator[Step]:
    """A drill's goes before what is written."""
    drill = mesh.drills.get(service.host)
    if drill:
        yield Step("drill", f"of calls {shown_fault(drill)}")
    elif fault:
        yield Step("fault", f"of calls {shown_fault(fault)}", fault.place)
