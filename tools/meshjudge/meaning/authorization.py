"""Who may call: Envoy's RBAC filters, with their trees of conditions written one way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tools.meshjudge.meaning.message import UnreadError, reading, type_of
from tools.meshjudge.meaning.values import header_match, text_match

Tree = str | bool | tuple[str, frozenset[Any]]
"""A leaf as text, True (always), False (never), or an operator ("and", "or", "not") over trees."""


def authorization(filters: Sequence[dict[str, Any]], per_route: dict[str, Any]) -> list[dict[str, Any]]:
    """The RBAC filters of a chain in their order, each with the route's configuration where it has one: what is done
    with a call of which any line is true. What never does anything is left out; an ALLOW without lines allows none."""
    found = []
    for each in filters:
        if type_of(each.get("typed_config", {})) != "RBAC":
            continue
        config = each["typed_config"]
        if each["name"] in per_route:
            with reading("RBACPerRoute", per_route[each["name"]]) as override:
                config = override.take("rbac", {})
        found += [rules for rules in _rbac(config) if rules["of"] or rules["does"] == "ALLOW"]
    return found


def _rbac(config: dict[str, Any]) -> Iterable[dict[str, Any]]:
    with reading("RBAC", config) as message:
        for name, suffix in (("rules", ""), ("shadow_rules", " (only noted)")):
            if not message.has(name):
                continue
            with reading("Rules", message.take(name)) as rules:
                action = rules.take("action", "ALLOW")
                policies = rules.take("policies", {})
            # Each a line; the same one twice says no more.
            lines = {line for policy in policies.values() if (line := _policy(policy)) is not None}
            yield {"does": action + suffix, "of": sorted(lines)}


def _policy(policy: dict[str, Any]) -> str | None:
    """None for one that no call matches."""
    with reading("Policy", policy) as message:
        calls = _or(_permission(each) for each in message.take("permissions", ()))
        callers = _or(_principal(each) for each in message.take("principals", ()))
    whole = _and([calls, callers])
    return None if whole is False else _shown(whole)


def _permission(fields: dict[str, Any]) -> Tree:
    return _tree("Permission", fields, ("and_rules", "or_rules", "not_rule"), "rules", _permission)


def _principal(fields: dict[str, Any]) -> Tree:
    return _tree("Principal", fields, ("and_ids", "or_ids", "not_id"), "ids", _principal)


def _tree(kind: str, fields: dict[str, Any], operators: tuple[str, str, str], listed: str, read: Any) -> Tree:
    with reading(kind, fields) as message:
        if message.has(operators[0]):
            return _and(map(read, message.take(operators[0]).get(listed, ())))
        if message.has(operators[1]):
            return _or(map(read, message.take(operators[1]).get(listed, ())))
        if message.has(operators[2]):
            return _not(read(message.take(operators[2])))
        if message.take("any", False):
            return True
        return _leaf(message)


def _leaf(message: Any) -> Tree:
    if message.has("header"):
        return _inverted(header_match(message.take("header")))
    if message.has("url_path"):
        return f"path {text_match(message.take('url_path')['path'])}"
    if message.has("destination_port"):
        return f"port {message.take('destination_port')}"
    if message.has("authenticated"):
        principal = message.take("authenticated").get("principal_name")
        return f"caller {text_match(principal)}" if principal else "caller has a certificate"
    for name in ("direct_remote_ip", "remote_ip", "source_ip", "destination_ip"):
        if message.has(name):
            block = message.take(name)
            return f"{name} {block['address_prefix']}/{block.get('prefix_len', 0)}"
    if message.has("requested_server_name"):
        return f"server name {text_match(message.take('requested_server_name'))}"
    if message.has("metadata"):
        return _metadata(message.take("metadata"))
    if message.has("filter_state"):
        with reading("FilterStateMatcher", message.take("filter_state")) as state:
            return f"state {state.take('key')} {text_match(state.take('string_match'))}"
    if message.has("uri_template"):
        with reading("TypedExtension", message.take("uri_template")) as template:
            return f"path like {template.take('typed_config')['path_template']}"
    raise UnreadError(f"a condition of RBAC that is not read: {message.__dict__}")


def _metadata(fields: dict[str, Any]) -> str:
    with reading("MetadataMatcher", fields) as message:
        keys = ".".join(step["key"] for step in message.take("path"))
        not_ = "not " if message.take("invert", False) else ""
        return f"{not_}metadata {message.take('filter')} {keys} is {message.take('value')}"


def _inverted(text: str) -> Tree:
    return _not(text.removeprefix("not ")) if text.startswith("not ") else text


def _and(trees: Iterable[Tree]) -> Tree:
    return _joined("and", trees, nothing=True)


def _or(trees: Iterable[Tree]) -> Tree:
    return _joined("or", trees, nothing=False)


def _joined(operator: str, trees: Iterable[Tree], *, nothing: bool) -> Tree:
    """Flat, without what adds nothing; `nothing` is what no condition at all is."""
    found: set[Any] = set()
    for tree in trees:
        if tree is (not nothing):
            return not nothing
        if tree is nothing:
            continue
        if isinstance(tree, tuple) and tree[0] == operator:
            found |= tree[1]
        else:
            found.add(tree)
    if not found:
        return nothing
    return found.pop() if len(found) == 1 else (operator, frozenset(found))


def _not(tree: Tree) -> Tree:
    if isinstance(tree, bool):
        return not tree
    if isinstance(tree, tuple) and tree[0] == "not":
        inner: Tree = next(iter(tree[1]))
        return inner
    return ("not", frozenset([tree]))


def _shown(tree: Tree) -> str:
    if isinstance(tree, bool):
        return "every call" if tree else "no call"
    if isinstance(tree, str):
        return tree
    operator, inner = tree
    texts = sorted(map(_shown, inner))
    if operator == "not":
        return f"not ({texts[0]})"
    return "(" + f" {operator} ".join(texts) + ")"
