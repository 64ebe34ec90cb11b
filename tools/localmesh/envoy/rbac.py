"""Authorization as a configuration of routes: a change of rules changes no listener, and cuts no stream.

The meaning is istiod's (istio/pilot/pkg/security/authz/model): what a DENY matches is refused; then, where there is any
ALLOW for a workload, what none of them matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tools.localmesh.mesh import Json, Mesh, typed
from tools.localmesh.pods import Pod
from tools.localmesh.rules.authorization import (
    AuthorizationPolicy,
    Condition,
    Operation,
    Pattern,
    Rule,
    Source,
    Values,
    concerning,
)

DENY_FILTER = "envoy.filters.http.rbac.deny"
ALLOW_FILTER = "envoy.filters.http.rbac"

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_ANY: Json = {"any": True}
_NOTHING: Json = {"permissions": [{"not_rule": _ANY}], "principals": [{"not_id": _ANY}]}


def rbac_filters() -> list[Json]:
    """The filters for `rbac_per_route`. What meets no route with such a configuration is refused."""
    return [
        {"name": DENY_FILTER, "typed_config": typed(_RBAC)},
        {"name": ALLOW_FILTER, "typed_config": typed(_RBAC, rules={"action": "ALLOW", "policies": {}})},
    ]


def rbac_per_route(mesh: Mesh, pod: Pod, port: int, listens: int | None = None) -> Json:
    """The typed_per_filter_config of all routes to a port of the pod. `listens`: at which one it is that the caller's
    connection ends, where that is another."""
    policies = concerning(mesh.rules.authorization_policies, pod.workload)
    translator = _Translator(port, port if listens is None else listens)
    return {
        DENY_FILTER: _per_route("DENY", [policy for policy in policies if policy.action == "DENY"], translator),
        ALLOW_FILTER: _per_route("ALLOW", [policy for policy in policies if policy.action == "ALLOW"], translator),
    }


def _per_route(action: str, policies: Sequence[AuthorizationPolicy], translator: _Translator) -> Json:
    """Without policies the action is off, and everything passes."""
    if not policies:
        return typed(_PER_ROUTE)
    found: dict[str, Json] = {}
    for policy in policies:
        name = f"ns[{policy.namespace}]-policy[{policy.name}]-rule"
        found |= {f"{name}[{number}]": translator.rule(rule) for number, rule in enumerate(policy.rules)}
        if not policy.rules:
            found[f"{name}[0]"] = _NOTHING
    return typed(_PER_ROUTE, rbac={"rules": {"action": action, "policies": found}})


class _Translator:
    """For calls to a port whose connections end at another (the edge's; elsewhere it is the same)."""

    def __init__(self, port: int, listens: int) -> None:
        self._port = port
        self._listens = listens

    def rule(self, rule: Rule) -> Json:
        """Any of the operations and any of the sources, each under all of the conditions."""
        permissions = [part for condition in rule.conditions for part in self._permissions_of(condition)]
        principals = [part for condition in rule.conditions for part in _principals_of(condition)]
        operations = [self._operation(operation) for operation in rule.operations] or [[]]
        sources = [_source(source) for source in rule.sources] or [[]]
        return {
            "permissions": [{"and_rules": {"rules": [*parts, *permissions] or [_ANY]}} for parts in operations],
            "principals": [{"and_ids": {"ids": [*parts, *principals] or [_ANY]}} for parts in sources],
        }

    def _operation(self, operation: Operation) -> list[Json]:
        return [
            *_permissions(operation.methods, lambda text: _header(":method", text)),
            *_permissions(operation.paths, lambda text: {"url_path": {"path": _string(text)}}),
            *_permissions(operation.ports, self._port_rule),
        ]

    def _permissions_of(self, condition: Condition) -> list[Json]:
        if condition.key == "destination.port":
            return _permissions(condition.values, self._port_rule)
        if condition.key == "connection.sni":
            return _permissions(condition.values, lambda text: {"requested_server_name": _string(text)})
        return []

    def _port_rule(self, text: str) -> Json:
        if int(text) == self._port:
            return {"destination_port": self._listens}
        return {"not_rule": _ANY} if int(text) == self._listens else {"destination_port": int(text)}


def _principals_of(condition: Condition) -> list[Json]:
    if condition.header:
        return _principals(condition.values, lambda text: _header(condition.header, text))
    if condition.key == "source.principal":
        return _principals(condition.values, _principal)
    if condition.key == "source.namespace":
        return _principals(condition.values, _namespace)
    return []


def _source(source: Source) -> list[Json]:
    return [*_principals(source.principals, _principal), *_principals(source.namespaces, _namespace)]


def _permissions(values: Values, one: Callable[[str], Json]) -> list[Json]:
    wanted = [{"or_rules": {"rules": _each(values.wanted, one)}}] if values.wanted else []
    unwanted = [{"not_rule": {"or_rules": {"rules": _each(values.unwanted, one)}}}] if values.unwanted else []
    return [*wanted, *unwanted]


def _principals(values: Values, one: Callable[[str], Json]) -> list[Json]:
    wanted = [{"or_ids": {"ids": _each(values.wanted, one)}}] if values.wanted else []
    unwanted = [{"not_id": {"or_ids": {"ids": _each(values.unwanted, one)}}}] if values.unwanted else []
    return [*wanted, *unwanted]


def _each(patterns: Iterable[Pattern], one: Callable[[str], Json]) -> list[Json]:
    return [one(pattern.text) for pattern in patterns]


def _principal(text: str) -> Json:
    """Of callers with a certificate only: others have no name, so none of these matches them."""
    if text.startswith("*") and text != "*":
        return _authenticated({"safe_regex": {"regex": f"spiffe://.*{_quoted(text[1:])}"}})
    return _authenticated(_string(text, "spiffe://"))


def _namespace(text: str) -> Json:
    return _authenticated({"safe_regex": {"regex": f".*/ns/{text.replace('*', '.*')}/.*"}})


def _authenticated(name: Json) -> Json:
    return {"authenticated": {"principal_name": name}}


def _header(name: str, text: str) -> Json:
    if text == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": _string(text)}}


def _string(text: str, before: str = "") -> Json:
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.startswith("*"):
        return {"suffix": text[1:]}
    return {"prefix": before + text[:-1]} if text.endswith("*") else {"exact": before + text}


def _quoted(text: str) -> str:
    """As QuoteMeta of Go: what RE2 takes for itself."""
    return "".join(f"\\{letter}" if letter in r"\.+*?()|[]{}^$" else letter for letter in text)
