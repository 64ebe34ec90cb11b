"""VirtualServices that hand on to others: what istiod makes of both (mergeHTTPRoute in pilot/pkg/model)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.http_routes import HttpRoute
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.rules.virtual_services import VirtualService


def merge_delegates(virtual_services: Sequence[VirtualService]) -> list[VirtualService]:
    """Those with hosts, in their order, with what their delegates say merged in.

    Raises MeshError with every delegate that is missing, is none, contradicts who hands on to it, or is used by nobody.
    """
    delegates = {(one.namespace, one.name): one for one in virtual_services if not one.hosts}
    rooted = {(one.namespace, one.name) for one in virtual_services if one.hosts}
    problems: list[Problem] = []
    used: set[tuple[str, str]] = set()
    merged = []
    for root in virtual_services:
        routes: list[HttpRoute] = []
        for route in root.http if root.hosts else ():
            if route.delegate is None:
                routes.append(route)
                continue
            key = (route.delegate.namespace, route.delegate.name)
            used.add(key)
            delegate = delegates.get(key)
            if delegate is None or (delegate.private and delegate.namespace != root.namespace):
                problems.append(_missing(route, delegate is not None, key in rooted))
                continue
            try:
                routes += [_merged(route, entry, delegate) for entry in delegate.http]
            except MeshError as error:
                problems += error.problems
        if root.hosts:
            merged.append(replace(root, http=tuple(routes)))
    for key, delegate in delegates.items():
        if key not in used:
            text = "has no hosts, so it is a delegate, and no VirtualService hands on to it; add hosts, or remove it"
            problems.append(Problem(delegate.place, "spec.hosts", text))
    if problems:
        raise MeshError(problems)
    return merged


def _missing(route: HttpRoute, private: bool, rooted: bool) -> Problem:
    assert route.delegate is not None
    name = f"{route.delegate.namespace}/{route.delegate.name}"
    text = f"there is no VirtualService {name}; add it, without hosts"
    if private:
        text = f"VirtualService {name} is shown to its own namespace only (exportTo)"
    elif rooted:
        text = f"VirtualService {name} has hosts, so it is no delegate; remove its hosts"
    return Problem(route.delegate.place, route.delegate.path, text)


def _merged(root: HttpRoute, entry: HttpRoute, delegate: VirtualService) -> HttpRoute:
    """What the delegate says goes before what the root says; both matches must hold."""
    return HttpRoute(
        root.place,
        root.path,
        "-".join(name for name in (root.name, entry.name) if name),
        _matches(root, entry, delegate),
        entry.destinations,
        entry.timeout or root.timeout,
        entry.retries or root.retries,
        entry.fault or root.fault,
        entry.headers or root.headers,
        entry.cors_policy or root.cors_policy,
        entry.direct_response,
        entry.rewrite or root.rewrite,
        delegate_place=entry.place,
    )


def _matches(root: HttpRoute, entry: HttpRoute, delegate: VirtualService) -> tuple[Match, ...]:
    """Each of the delegate's with each of the root's, without pairs that contradict each other. One of the delegate's
    that contradicts all of the root's would take the whole entry out without a word: it is refused."""
    if not root.matches or not entry.matches:
        return root.matches or entry.matches
    found = []
    for match in entry.matches:
        pairs = [_both(other, match) for other in root.matches if not _contradict(other, match)]
        if not pairs:
            text = (
                f"contradicts every match of {root.path} at {root.place}, which hands on to "
                f"{delegate.title}: no call could come here, and Istio leaves the entry out; change one of them"
            )
            raise MeshError([Problem(match.place, match.path, text)])
        found += pairs
    return tuple(found)


def _both(root: Match, match: Match) -> Match:
    return Match(
        root.place,
        root.path,
        "-".join(name for name in (root.name, match.name) if name),
        match.uri or root.uri,
        match.ignore_uri_case,
        match.scheme or root.scheme,
        match.method or root.method,
        match.authority or root.authority,
        {**root.headers, **match.headers},
        {**root.without_headers, **match.without_headers},
        {**root.query_parameters, **match.query_parameters},
        match.port or root.port,
        {**root.source_labels, **match.source_labels},
        match.source_namespace or root.source_namespace,
        match.gateways or root.gateways,
    )


def _contradict(root: Match, match: Match) -> bool:
    """As istiod decides it: some pairs that it takes for contradictions could hold both."""
    if any(_texts_contradict(one, other) for one, other in _texts(root, match)):
        return True
    if root.ignore_uri_case != match.ignore_uri_case:
        return True
    if root.port and match.port and root.port != match.port:
        return True
    if root.source_namespace and match.source_namespace != root.source_namespace:
        return True
    if any(root.source_labels.get(name, value) != value for name, value in match.source_labels.items()):
        return True
    return bool(root.gateways and match.gateways) and not set(match.gateways) <= set(root.gateways)


def _texts(root: Match, match: Match) -> Iterator[tuple[TextMatch | None, TextMatch | None]]:
    yield root.uri, match.uri
    yield root.scheme, match.scheme
    yield root.method, match.method
    yield root.authority, match.authority
    maps: tuple[tuple[Mapping[str, TextMatch], Mapping[str, TextMatch]], ...] = (
        (root.headers, match.headers),
        (root.without_headers, match.without_headers),
        (root.query_parameters, match.query_parameters),
    )
    for roots, own in maps:
        for name, text in own.items():
            yield roots.get(name), text


def _texts_contradict(root: TextMatch | None, match: TextMatch | None) -> bool:
    """Not where one is part of the other, said without regular expressions."""
    if root is None or match is None:
        return False
    if root.how == How.EXACT:
        return match != root
    if root.how == How.PREFIX and match.how in (How.PREFIX, How.EXACT):
        return not match.value.startswith(root.value)
    return True
