"""What the rules make of one call: the same that Envoy makes of it, told with places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.localmesh.rules.authorization import (
    AuthorizationPolicy,
    Condition,
    Operation,
    Rule,
    Source,
    Values,
    concerning,
)
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.workloads import Workload


@dataclass(frozen=True)
class Call:
    """A gRPC call as it comes to a proxy. `client` makes it, with its certificate; `authority` is what it calls."""

    path: str
    headers: Mapping[str, str]
    client: Workload
    authority: str = ""
    sni: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a workload takes a call. `policy` and `rule` are what decides; without a policy nothing is forbidden."""

    allowed: bool
    policy: AuthorizationPolicy | None = None
    rule: Rule | None = None


def holds(match: Match | None, call: Call) -> bool:
    """Whether a call is one that the match asks for. What it asks of the client is taken to hold."""
    if match is None:
        return True
    return (
        not match.query_parameters
        and all(_text(text, value) for text, value in ((match.scheme, "http"), (match.method, "POST")))
        and _text(match.authority, call.authority)
        and _text(match.uri, call.path, ignore_case=match.ignore_uri_case)
        and all(name in call.headers and _text(text, call.headers[name]) for name, text in match.headers.items())
        and not any(_is_with(name, text, call.headers) for name, text in match.without_headers.items())
    )


def verdict(policies: Iterable[AuthorizationPolicy], workload: Workload, port: int, call: Call) -> Verdict:
    """As istiod has it: what a DENY matches is refused; then, where there is an ALLOW, what none of them matches."""
    relevant = concerning(policies, workload)
    for policy in (policy for policy in relevant if policy.action == "DENY"):
        for rule in policy.rules:
            if _rule_matches(rule, port, call):
                return Verdict(False, policy, rule)
    allowing = [policy for policy in relevant if policy.action == "ALLOW"]
    for policy in allowing:
        for rule in policy.rules:
            if _rule_matches(rule, port, call):
                return Verdict(True, policy, rule)
    return Verdict(False, allowing[0]) if allowing else Verdict(True)


def _is_with(name: str, text: TextMatch, headers: Mapping[str, str]) -> bool:
    """A header that is not there counts as empty, unless it is only asked whether it is there."""
    return name in headers if text.how is How.PRESENT else _text(text, headers.get(name, ""))


def _text(match: TextMatch | None, value: str, *, ignore_case: bool = False) -> bool:
    if match is None or match.how is How.PRESENT:
        return True
    if match.how is How.REGEX:
        return re.fullmatch(match.value, value) is not None
    wanted, given = (match.value.lower(), value.lower()) if ignore_case else (match.value, value)
    return wanted == given if match.how is How.EXACT else given.startswith(wanted)


def _rule_matches(rule: Rule, port: int, call: Call) -> bool:
    return (
        (not rule.sources or any(_source_matches(source, call) for source in rule.sources))
        and (not rule.operations or any(_operation_matches(one, port, call) for one in rule.operations))
        and all(_condition_matches(condition, port, call) for condition in rule.conditions)
    )


def _source_matches(source: Source, call: Call) -> bool:
    return _among(source.principals, call.client.principal) and _among(source.namespaces, call.client.namespace)


def _operation_matches(operation: Operation, port: int, call: Call) -> bool:
    return (
        _among(operation.methods, "POST") and _among(operation.paths, call.path) and _among(operation.ports, str(port))
    )


def _condition_matches(condition: Condition, port: int, call: Call) -> bool:
    values = {
        "source.principal": call.client.principal,
        "source.namespace": call.client.namespace,
        "destination.port": str(port),
        "connection.sni": call.sni,
    }
    value = call.headers.get(condition.header) if condition.header else values[condition.key]
    return _among(condition.values, value)


def _among(values: Values, value: str | None) -> bool:
    wanted = not values.wanted or any(_like(pattern.text, value) for pattern in values.wanted)
    return wanted and not any(_like(pattern.text, value) for pattern in values.unwanted)


def _like(text: str, value: str | None) -> bool:
    if value is None:
        return False
    if text == "*":
        return bool(value)
    if text.startswith("*"):
        return value.endswith(text[1:])
    return value.startswith(text[:-1]) if text.endswith("*") else value == text
