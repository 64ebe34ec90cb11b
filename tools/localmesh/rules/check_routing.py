"""Mistakes in VirtualServices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from tools.localmesh.problems import Problem
from tools.localmesh.rules.covering import covers
from tools.localmesh.rules.http_routes import Destination, HttpRoute
from tools.localmesh.rules.matches import MESH_GATEWAY, Match
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.virtual_services import ANY_HOST, VirtualService
from tools.localmesh.workloads import Registry, Service, includes

_WHOLE = 100


def check_routing(rules: Rules, registry: Registry) -> Iterator[Problem]:
    """In VirtualServices with their delegates merged in."""
    for virtual_service in rules.virtual_services:
        yield from _hosts(virtual_service, registry)
        yield from _gateways(virtual_service, rules)
        yield from _behind(virtual_service)
        for route in virtual_service.http:
            yield from _shares(route)
            yield from _times(route)
            for match in route.matches:
                yield from _clients(match, virtual_service, registry)
                yield from _authority(match, virtual_service)
            for destination in route.destinations:
                yield from _destination(destination, virtual_service, rules, registry)
    for one, other in combinations(rules.virtual_services, 2):
        hosts = sorted(set(one.hosts) & set(other.hosts))
        if hosts and set(one.gateways) & set(other.gateways):
            text = f"{hosts[0]} has {one.title} at {one.place} already, and Istio takes the older; make them one"
            yield Problem(other.place, "spec.hosts", text)


def _hosts(virtual_service: VirtualService, registry: Registry) -> Iterator[Problem]:
    if MESH_GATEWAY not in virtual_service.gateways:
        return
    for host in virtual_service.hosts:
        service = registry.service(host)
        if service is None or not registry.is_in_mesh(service):
            yield Problem(virtual_service.place, "spec.hosts", _unknown_host(host, service))


def _unknown_host(host: str, service: Service | None) -> str:
    if service is not None:
        return f"{host} is not in the mesh, so no call to it would come here; remove the rule"
    return f"there is no Service {host}; name one of k8s/base"


def _gateways(virtual_service: VirtualService, rules: Rules) -> Iterator[Problem]:
    known = {MESH_GATEWAY, *(f"{gateway.namespace}/{gateway.name}" for gateway in rules.gateways)}
    for name in virtual_service.gateways:
        if name not in known:
            yield Problem(
                virtual_service.place, "spec.gateways", f"there is no Gateway {name}; add it, or name another"
            )
    for route in virtual_service.http:
        for match in route.matches:
            for name in match.gateways:
                if name not in virtual_service.gateways:
                    text = f"{virtual_service.title} is not for {name}; add it to spec.gateways, or remove it here"
                    yield Problem(match.place, f"{match.path}.gateways", text)


def _behind(virtual_service: VirtualService) -> Iterator[Problem]:
    """Each match that another, earlier one leaves nothing for."""
    earlier: list[tuple[HttpRoute, Match | None]] = []
    for route in virtual_service.http:
        for match in route.matches or (None,):
            taker = next((one for one, other in earlier if covers(other, match)), None)
            if taker is not None:
                place, path = (match.place, match.path) if match else (route.place, route.path)
                by = f"{taker.name or taker.path} at {taker.delegate_place or taker.place}"
                text = f"no call gets to {route.name or route.path}: {by} takes them all; put this first, or remove it"
                yield Problem(place, path, text)
            earlier.append((route, match))


def _shares(route: HttpRoute) -> Iterator[Problem]:
    if not route.destinations:
        return
    first = route.destinations[0]
    total = sum(destination.weight for destination in route.destinations)
    alone = len(route.destinations) == 1 and total == 0
    if total != _WHOLE and not alone:
        text = f"the weights sum to {total}; make them {_WHOLE}"
        yield Problem(first.place, first.path.rpartition("[")[0], text)


def _times(route: HttpRoute) -> Iterator[Problem]:
    if route.timeout is None or route.retries is None or route.retries.per_try_timeout_s is None:
        return
    per_try_s, whole_s = route.retries.per_try_timeout_s, route.timeout.seconds
    if per_try_s > whole_s:
        text = f"a try may take {per_try_s:g}s, and the whole call {whole_s:g}s ({route.timeout.place}); make it less"
        yield Problem(route.retries.place or route.place, f"{route.retries.path}.perTryTimeout", text)


def _authority(match: Match, virtual_service: VirtualService) -> Iterator[Problem]:
    """Within the mesh of a laptop a Service is dialled by an address, so its name would match no call."""
    if match.authority and MESH_GATEWAY in (match.gateways or virtual_service.gateways):
        text = "is supported for calls that come in at a Gateway only; the VirtualService is for its hosts as it is"
        yield Problem(match.place, f"{match.path}.authority", text)


def _clients(match: Match, virtual_service: VirtualService, registry: Registry) -> Iterator[Problem]:
    workloads = [workload for workload in registry.workloads if workload.in_mesh]
    if match.source_namespace:
        workloads = [workload for workload in workloads if workload.namespace == match.source_namespace]
    if not any(includes(workload.labels, match.source_labels) for workload in workloads):
        text = "no workload of the mesh has these labels in this namespace: nobody's calls match; correct them"
        field = "sourceLabels" if match.source_labels else "sourceNamespace"
        yield Problem(match.place, f"{match.path}.{field}", text)
    services = [service for host in virtual_service.hosts if (service := registry.service(host))]
    ports = {port.number for service in services for port in service.ports}
    if match.port and ports and match.port not in ports:
        listed = ", ".join(map(str, sorted(ports)))
        text = f"{match.port} is no port of {', '.join(virtual_service.hosts)}; those are {listed}"
        yield Problem(match.place, f"{match.path}.port", text)


def _destination(
    destination: Destination, virtual_service: VirtualService, rules: Rules, registry: Registry
) -> Iterator[Problem]:
    service = registry.service(destination.host)
    if service is None or not registry.is_in_mesh(service):
        text = _unknown_host(destination.host, service)
        yield Problem(destination.place, f"{destination.path}.host", text)
        return
    yield from _port(destination, service, virtual_service, registry)
    candidates = [rule for rule in rules.destination_rules if rule.host == destination.host]
    if destination.subset and not any(rule.subset(destination.subset) for rule in candidates):
        known = ", ".join(subset.name for rule in candidates for subset in rule.subsets) or "none"
        text = f"no DestinationRule of {destination.host} has a subset {destination.subset}; there is: {known}"
        yield Problem(destination.place, f"{destination.path}.subset", text)


def _port(
    destination: Destination, service: Service, virtual_service: VirtualService, registry: Registry
) -> Iterator[Problem]:
    """One that is not written is the one that was called; at the edge the only one."""
    own = {port.number for port in service.ports}
    wanted = {destination.port} if destination.port else set()
    if not destination.port and MESH_GATEWAY in virtual_service.gateways:
        called = [one for host in virtual_service.hosts if host != ANY_HOST and (one := registry.service(host))]
        wanted |= {port.number for one in called for port in one.ports}
    listed = ", ".join(map(str, sorted(own)))
    for number in sorted(wanted - own):
        text = f"{service.host} has no port {number}; it has {listed}: write which one is meant"
        yield Problem(destination.place, f"{destination.path}.port", text)
    if not destination.port and len(own) > 1 and set(virtual_service.gateways) - {MESH_GATEWAY}:
        text = f"{service.host} has the ports {listed}: write which one the edge's calls go to"
        yield Problem(destination.place, f"{destination.path}.port", text)
