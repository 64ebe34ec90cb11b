"""AuthorizationPolicy: who may call a workload, and what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.selectors import ROOT_NAMESPACE, read_selector
from tools.localmesh.workloads import Workload, includes

T = TypeVar("T")

_HEADER_KEY = re.compile(r"request\.headers\[([a-z0-9_-]+)\]")
_PRINCIPAL = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+")


@dataclass(frozen=True)
class Pattern:
    """A text; one `*` at an end stands for anything, alone it stands for anything but nothing."""

    text: str
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Values:
    """What one must be (any of `wanted`, where there are some), and what it must not be (none of `unwanted`)."""

    wanted: tuple[Pattern, ...] = ()
    unwanted: tuple[Pattern, ...] = ()


@dataclass(frozen=True)
class Source:
    """Who calls; all that is written must hold."""

    principals: Values
    namespaces: Values
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Operation:
    """What is called; all that is written must hold. `ports` are the pods' own."""

    methods: Values
    paths: Values
    ports: Values
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Condition:
    """`key` is Istio's name of an attribute; `header` is which one where it is a header of the call."""

    key: str
    header: str
    values: Values
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Rule:
    """Matches a call from any of the sources (none: anybody), to any of the operations (none: whatever), under all of
    the conditions."""

    sources: tuple[Source, ...]
    operations: tuple[Operation, ...]
    conditions: tuple[Condition, ...]
    place: Place = field(compare=False)


@dataclass(frozen=True)
class AuthorizationPolicy:
    """`action` is ALLOW or DENY. Without rules it matches nothing: such an ALLOW lets nobody in."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    action: str
    rules: tuple[Rule, ...]
    place: Place = field(compare=False)

    @property
    def names_paths(self) -> bool:
        """Whether which method is called matters to it."""
        return any(operation.paths != Values() for rule in self.rules for operation in rule.operations)


def concerning(policies: Iterable[AuthorizationPolicy], workload: Workload) -> list[AuthorizationPolicy]:
    """Those that hold for the workload: its namespace's and the mesh's, with its labels or without a selector."""
    spaces = (workload.namespace, ROOT_NAMESPACE)
    return [policy for policy in policies if policy.namespace in spaces and includes(workload.labels, policy.selector)]


def read_authorization_policy(document: Document) -> AuthorizationPolicy:
    """Raises MeshError."""
    spec = document.spec()
    _check_annotations(document.root.entries()["metadata"])
    if spec is None:
        raise document.root.problem("spec is missing; `spec: {}` is the policy that lets nobody in")
    fields = spec.fields("selector", "action", "rules")
    selector = read_selector(fields.get("selector"), document)
    action = fields["action"].choice("ALLOW", "DENY") if "action" in fields else "ALLOW"
    rules = tuple(_rule(item) for item in fields["rules"].items()) if "rules" in fields else ()
    if not rules and fields:
        raise (fields.get("rules") or spec).problem(
            "has no rules; to let nobody in, write `spec: {}` for the namespace or `action: DENY` with `rules: [{}]`"
        )
    return AuthorizationPolicy(document.name, document.namespace, selector, action, rules, document.place)


def _check_annotations(metadata: Node) -> None:
    """One of Istio's, dry-run, would make the policy one that is only told of."""
    annotations = metadata.entries().get("annotations")
    for name, node in annotations.entries().items() if annotations else ():
        if name.partition("/")[0].endswith("istio.io"):
            raise node.problem("is not supported: what is written here holds; remove it")


def _rule(node: Node) -> Rule:
    if not node.is_map:
        raise node.problem("must be a map; {} matches every call")
    fields = node.fields("from", "to", "when")
    sources = _each(fields.get("from"), "source", _source)
    return Rule(sources, _each(fields.get("to"), "operation", _operation), _conditions(fields.get("when")), node.place)


def _each(node: Node | None, name: str, read: Callable[[Node], T]) -> tuple[T, ...]:
    """From a list of maps with that one field each."""
    if node is None:
        return ()
    return tuple(read(item.fields(required=(name,))[name]) for item in _not_empty(node).items())


def _source(node: Node) -> Source:
    fields = _not_empty(node).fields("principals", "notPrincipals", "namespaces", "notNamespaces")
    principals = _values(fields, "principals", "notPrincipals", _check_principal)
    return Source(principals, _values(fields, "namespaces", "notNamespaces", _check_namespace), node.place)


def _operation(node: Node) -> Operation:
    # Hosts are missing: on a laptop a call's :authority is an address, so they would not mean the same.
    names = ("methods", "notMethods", "paths", "notPaths", "ports", "notPorts")
    fields = _not_empty(node).fields(*names)
    return Operation(
        methods=_values(fields, "methods", "notMethods", _check_method),
        paths=_values(fields, "paths", "notPaths", _check_path),
        ports=_values(fields, "ports", "notPorts", _check_port),
        place=node.place,
    )


def _conditions(node: Node | None) -> tuple[Condition, ...]:
    return tuple(_condition(item) for item in _not_empty(node).items()) if node else ()


def _condition(node: Node) -> Condition:
    fields = node.fields("values", "notValues", required=("key",))
    if not {"values", "notValues"} & fields.keys():
        raise node.problem("needs values or notValues")
    key = fields["key"].text()
    header = _HEADER_KEY.fullmatch(key)
    if header and header[1] == "host":
        raise fields["key"].problem("on a laptop a call's host is an address, so it would not mean the same; remove it")
    check = _check_header if header else _CONDITIONS.get(key)
    if check is None:
        known = ", ".join(("request.headers[name]", *_CONDITIONS))
        raise fields["key"].problem(f"{key!r} is not supported; what is, with names in lower case: {known}")
    return Condition(key, header[1] if header else "", _values(fields, "values", "notValues", check), node.place)


def _values(fields: Mapping[str, Node], wanted: str, unwanted: str, check: Callable[[Node], None]) -> Values:
    return Values(_patterns(fields.get(wanted), check), _patterns(fields.get(unwanted), check))


def _patterns(node: Node | None, check: Callable[[Node], None]) -> tuple[Pattern, ...]:
    if node is None:
        return ()
    items = _not_empty(node).items()
    for item in items:
        check(item)
    return tuple(Pattern(item.text(), item.place) for item in items)


def _not_empty(node: Node) -> Node:
    """Istio takes nothing here for anything, or refuses it."""
    if node.is_empty:
        raise node.problem("must not be empty; leave it out if it does not matter")
    return node


def _check_wildcard(node: Node) -> None:
    text = node.text()
    if (text != "*" and "*" in text[1:-1]) or text.count("*") > 1:
        raise node.problem(f"{text!r}: only one * is supported, as the first or the last character")


def _check_principal(node: Node) -> None:
    _check_wildcard(node)
    text = node.text()
    if "://" in text:
        raise node.problem(f"Istio adds spiffe:// itself; write {text.partition('://')[2]}")
    if "*" not in text and not _PRINCIPAL.fullmatch(text):
        raise node.problem(f"{text!r} is nobody's name; write TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")


def _check_namespace(node: Node) -> None:
    _check_wildcard(node)
    if not re.fullmatch(r"[a-z0-9*-]+", node.text()):
        raise node.problem(f"{node.text()!r} is no namespace")


def _check_server_name(node: Node) -> None:
    _check_wildcard(node)
    if not re.fullmatch(r"[A-Za-z0-9._*-]+", node.text()):
        raise node.problem(f"{node.text()!r} is no server name")


def _check_method(node: Node) -> None:
    _check_wildcard(node)
    if not re.fullmatch(r"[A-Z*]+", node.text()):
        raise node.problem(f"{node.text()!r} is no method of HTTP: they are in upper case (gRPC's calls are all POST)")


def _check_path(node: Node) -> None:
    text = node.text()
    if re.search(r"[{}?#\s]", text):
        raise node.problem(f"{text!r}: templates ({{*}}) are not supported, and ? and # are in no path")
    _check_wildcard(node)
    if not text.startswith(("/", "*")):
        raise node.problem(f"{text!r} matches nothing: paths begin with /")


def _check_port(node: Node) -> None:
    text = node.text()
    if not (re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535):
        raise node.problem(f"{text!r} is no port; write its number in quotes")


def _check_header(node: Node) -> None:
    _check_wildcard(node)


_CONDITIONS: Mapping[str, Callable[[Node], None]] = {
    "source.principal": _check_principal,
    "source.namespace": _check_namespace,
    "destination.port": _check_port,
    "connection.sni": _check_server_name,
}
