"""AuthorizationPolicy: who may call a workload, and what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.localmesh.documents import Document
from tools.localmesh.problems import Place


@dataclass(frozen=True)
class Values:
    """What one must be (any of `wanted`, where there are some) and none of what it may be."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Who calls; all that is written must hold."""

    principals: Values
    namespaces: Values
    place: Place


@dataclass(frozen=True)
class Operation:
    """What is called; all that is written must hold."""

    hosts: Values
    ports: Values
    methods: Values
    paths: Values
    place: Place


@dataclass(frozen=True)
class Condition:
    """`key` is Istio's name of an attribute, such as request.headers[priority]."""

    key: str
    values: Values
    place: Place


@dataclass(frozen=True)
class Rule:
    """Matches a call that any of the sources makes (none: anybody), to any of the operations (none: whatever), under
    all of the conditions."""

    sources: tuple[Source, ...]
    operations: tuple[Operation, ...]
    conditions: tuple[Condition, ...]
    place: Place


@dataclass(frozen=True)
class AuthorizationPolicy:
    """`action` is ALLOW or DENY. Without rules it matches nothing: an ALLOW without rules lets nobody in."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    action: str
    rules: tuple[Rule, ...]
    place: Place


def read_authorization_policy(document: Document) -> AuthorizationPolicy:
    """Raises MeshError."""
    raise NotImplementedError
