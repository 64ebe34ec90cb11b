"""Mistakes in who may call whom: policies for nobody, and callers who are nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.rules.authorization import AuthorizationPolicy, Pattern, Rule, Values, concerning
from tools.localmesh.rules.peer_authentication import Effective, Mode, PeerAuthentication, concerns, effective
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.selectors import ROOT_NAMESPACE
from tools.localmesh.workloads import Registry, Workload, includes


def check_callers(rules: Rules, registry: Registry) -> Iterator[Problem]:
    """In AuthorizationPolicies, PeerAuthentications, Gateways and EnvoyFilters."""
    workloads = [workload for workload in registry.workloads if workload.in_mesh]
    for kind in (rules.authorization_policies, rules.peer_authentications):
        for policy in kind:
            there = [one for one in workloads if policy.namespace in (one.namespace, ROOT_NAMESPACE)]
            yield from _selector(policy.selector, policy.namespace, policy.place, there)
    # Of the root namespace these would be for the whole mesh in a cluster.
    for edges in (rules.gateways, rules.envoy_filters):
        for one in edges:
            there = [workload for workload in workloads if workload.namespace == one.namespace]
            yield from _selector(one.selector, one.namespace, one.place, there)
    for policy in rules.authorization_policies:
        for rule in policy.rules:
            yield from _names(rule, workloads)
    yield from _ambiguous(rules.peer_authentications, workloads)
    for workload in workloads:
        yield from _nameless(rules, registry, workload)
    for peer in rules.peer_authentications:
        yield from _ports(peer, registry, workloads)


def _selector(
    selector: Mapping[str, str], namespace: str, place: Place, there: Sequence[Workload]
) -> Iterator[Problem]:
    """Without a selector it is for all that are `there`."""
    if not there:
        yield Problem(place, "metadata.namespace", f"no workload of the mesh is in {namespace}; name another namespace")
    elif not any(includes(workload.labels, selector) for workload in there):
        labels = ", ".join(f"{name}: {value}" for name, value in selector.items())
        text = f"no workload of the mesh in {namespace} has the labels {{{labels}}}; correct them"
        yield Problem(place, "spec.selector", text)


def _names(rule: Rule, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Each pattern must be somebody's name: else it is a slip of the pen."""
    names = {workload.principal for workload in workloads}
    namespaces = {workload.namespace for workload in workloads}
    for what, values in _asked(rule):
        known = names if what == "principal" else namespaces
        for pattern in (*values.wanted, *values.unwanted):
            if not any(_fits(pattern, name) for name in known):
                text = f"{pattern.text} is nobody's {what}; there is: {', '.join(sorted(known))}"
                yield Problem(pattern.place, f"{what}s", text)


def _asked(rule: Rule) -> Iterator[tuple[str, Values]]:
    """All that a rule asks about the name of who calls."""
    for source in rule.sources:
        yield "principal", source.principals
        yield "namespace", source.namespaces
    for condition in rule.conditions:
        if condition.key in ("source.principal", "source.namespace"):
            yield condition.key.removeprefix("source."), condition.values


def _fits(pattern: Pattern, name: str) -> bool:
    if pattern.text.startswith("*"):
        return name.endswith(pattern.text[1:])
    if pattern.text.endswith("*"):
        return name.startswith(pattern.text[:-1])
    return name == pattern.text


def _ambiguous(peers: Sequence[PeerAuthentication], workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Each policy that is one too many, told for the first workload that has it."""
    found: dict[Place, Problem] = {}
    for workload in workloads:
        try:
            effective(peers, workload, 0)
        except MeshError as error:
            for problem in error.problems:
                found.setdefault(problem.place, problem)
    yield from found.values()


def known_mode(peers: Sequence[PeerAuthentication], workload: Workload, port: int) -> Effective | None:
    """What holds for a port of the workload's pods; None where that is not clear, which is told by itself."""
    try:
        return effective(peers, workload, port)
    except MeshError:
        return None


def _nameless(rules: Rules, registry: Registry, workload: Workload) -> Iterator[Problem]:
    """Who calls in plain text has no name: a policy that lets in by names then lets nobody in."""
    plain: Place | None = None
    for service in registry.services_of(workload):
        for port in service.ports:
            found = known_mode(rules.peer_authentications, workload, port.target)
            if found and found.mode is Mode.DISABLE:
                plain = found.place
            for rule in rules.destination_rules:
                tls = rule.effective("", port.number).tls if rule.host == service.host else None
                plain = tls.place if tls and tls.mode == "DISABLE" else plain
    for policy in concerning(rules.authorization_policies, workload) if plain else ():
        for asked in _asking_for_names(policy):
            text = f"{workload.name} is called in plain text ({plain}), where nobody has a name; let it be mutual TLS"
            yield Problem(asked.place, "rules", text)


def _asking_for_names(policy: AuthorizationPolicy) -> Iterator[Rule]:
    for rule in policy.rules:
        if any(values.wanted or values.unwanted for _, values in _asked(rule)):
            yield rule


def _ports(peer: PeerAuthentication, registry: Registry, workloads: Iterable[Workload]) -> Iterator[Problem]:
    mine = [workload for workload in workloads if concerns(peer, workload)]
    targets = {port.target for one in mine for service in registry.services_of(one) for port in service.ports}
    for number, mode in peer.ports.items():
        if number not in targets:
            listed = ", ".join(map(str, sorted(targets)))
            text = f"no Service leads to port {number} of these pods; those are {listed}"
            yield Problem(mode.place, f"spec.portLevelMtls.{number}", text)
