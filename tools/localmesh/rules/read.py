"""All of `mesh/` as rules: each document by its kind, then what can only be seen when all are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.localmesh.components import add_component
from tools.localmesh.documents import Document, read_documents
from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.authorization import read_authorization_policy
from tools.localmesh.rules.checks import check
from tools.localmesh.rules.delegation import merge_delegates
from tools.localmesh.rules.destination_rules import read_destination_rule
from tools.localmesh.rules.envoy_filters import read_envoy_filter
from tools.localmesh.rules.gateways import read_gateway
from tools.localmesh.rules.peer_authentication import read_peer_authentication
from tools.localmesh.rules.rules import Rules
from tools.localmesh.rules.virtual_services import read_virtual_service
from tools.localmesh.workloads import Registry

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"

READERS: Mapping[tuple[str, str], Callable[[Document], Any]] = {
    (NETWORKING, "VirtualService"): read_virtual_service,
    (NETWORKING, "DestinationRule"): read_destination_rule,
    (NETWORKING, "Gateway"): read_gateway,
    ("networking.istio.io/v1alpha3", "EnvoyFilter"): read_envoy_filter,
    (SECURITY, "PeerAuthentication"): read_peer_authentication,
    (SECURITY, "AuthorizationPolicy"): read_authorization_policy,
}
"""By apiVersion and kind: what is supported, each in the one version that has it."""


def read_rules(folder: Path, registry: Registry, components: Sequence[Path] = ()) -> Rules:
    """The rules that the folder's kustomization lists, with what the components (folders) add.

    Raises MeshError with all problems that could be found.
    """
    found: dict[str, list[Any]] = {kind: [] for _, kind in READERS}
    problems: list[Problem] = []
    documents = read_documents(folder)
    for component in components:
        add_component(component, documents)
    for document in documents:
        try:
            rule = _reader(document)(document)
            found[document.kind].append(rule)
        except MeshError as error:
            problems += error.problems
    if problems:
        raise MeshError(problems)
    rules = Rules(
        tuple(merge_delegates(found["VirtualService"])),
        tuple(found["DestinationRule"]),
        tuple(found["PeerAuthentication"]),
        tuple(found["AuthorizationPolicy"]),
        tuple(found["Gateway"]),
        tuple(found["EnvoyFilter"]),
    )
    problems = check(rules, registry)
    if problems:
        raise MeshError(problems)
    return rules


def _reader(document: Document) -> Callable[[Document], Any]:
    reader = READERS.get((document.api_version, document.kind))
    if reader:
        return reader
    fields = document.root.entries()
    versions = [version for version, kind in READERS if kind == document.kind]
    if versions:
        raise fields["apiVersion"].problem(f"{document.api_version} has no {document.kind} here; write {versions[0]}")
    kinds = ", ".join(sorted(kind for _, kind in READERS))
    raise fields["kind"].problem(f"{document.kind} is not supported; what is: {kinds}")
