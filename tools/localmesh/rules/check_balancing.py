"""Mistakes in DestinationRules, and between them and PeerAuthentications."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from tools.localmesh.problems import Place, Problem
from tools.localmesh.rules.check_callers import known_mode
from tools.localmesh.rules.destination_rules import DestinationRule
from tools.localmesh.rules.peer_authentication import Mode
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.selectors import ROOT_NAMESPACE
from tools.localmesh.workloads import Registry, Service, includes


def check_balancing(rules: Rules, registry: Registry) -> Iterator[Problem]:
    """In DestinationRules, each by itself and beside the others."""
    for rule in rules.destination_rules:
        service = registry.service(rule.host)
        if service is None or not registry.is_in_mesh(service):
            why = "is not in the mesh" if service else "is no Service"
            yield Problem(rule.place, "spec.host", f"{rule.host} {why}; name one of k8s/base, or remove the rule")
            continue
        yield from _namespace(rule, service, registry)
        yield from _subsets(rule, service, registry)
        yield from _ports(rule, service)
        yield from _tls(rule, service, rules, registry)
    for one, other in combinations(rules.destination_rules, 2):
        if one.host == other.host:
            text = f"{one.host} has a DestinationRule at {one.place} already; make them one"
            yield Problem(other.place, "spec.host", text)


def _namespace(rule: DestinationRule, service: Service, registry: Registry) -> Iterator[Problem]:
    clients = {workload.namespace for workload in registry.workloads if workload.in_mesh}
    if rule.namespace not in {*clients, service.namespace, ROOT_NAMESPACE}:
        text = (
            f"nobody uses a DestinationRule of {rule.namespace}: neither clients nor {service.host} are there; move it"
        )
        yield Problem(rule.place, "metadata.namespace", text)


def _subsets(rule: DestinationRule, service: Service, registry: Registry) -> Iterator[Problem]:
    for subset in rule.subsets:
        if not any(includes(workload.labels, subset.labels) for workload in registry.behind(service)):
            labels = ", ".join(f"{name}: {value}" for name, value in subset.labels.items())
            text = f"no Deployment behind {service.host} has the labels {{{labels}}}; correct them, or add one"
            yield Problem(subset.place, f"{subset.path}.labels", text)


def _ports(rule: DestinationRule, service: Service) -> Iterator[Problem]:
    own = {port.number for port in service.ports}
    policies = [rule.policy, *(subset.policy for subset in rule.subsets if subset.policy)]
    for policy in policies:
        for number, part in policy.ports.items():
            if number not in own:
                listed = ", ".join(map(str, sorted(own)))
                text = f"{service.host} has no port {number}; it has {listed}"
                yield Problem(part.place or rule.place, "portLevelSettings", text)


def _tls(rule: DestinationRule, service: Service, rules: Rules, registry: Registry) -> Iterator[Problem]:
    """What clients speak must be what the other side takes."""
    for port in service.ports:
        for name in ("", *(subset.name for subset in rule.subsets)):
            tls = rule.effective(name, port.number).tls
            subset = rule.subset(name)
            labels = subset.labels if subset else {}
            workloads = [one for one in registry.behind(service) if includes(one.labels, labels)]
            for workload in workloads if tls else ():
                found = known_mode(rules.peer_authentications, workload, port.target)
                if (
                    tls
                    and found
                    and (tls.mode, found.mode) in (("DISABLE", Mode.STRICT), ("ISTIO_MUTUAL", Mode.DISABLE))
                ):
                    takes = "mutual TLS" if found.mode is Mode.STRICT else "plain text"
                    text = f"{workload.name} takes nothing but {takes} ({_shown(found.place)}): make the two the same"
                    yield Problem(tls.place, f"{tls.path}.mode", text)


def _shown(place: Place | None) -> str:
    return str(place) if place else "Istio's default"
