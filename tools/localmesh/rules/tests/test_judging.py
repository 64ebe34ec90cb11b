from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.problems import Place
from tools.localmesh.rules.authorization import (
    AuthorizationPolicy,
    Condition,
    Operation,
    Pattern,
    Rule,
    Source,
    Values,
)
from tools.localmesh.rules.judging import Call, holds, verdict
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.workloads import Workload

HERE = Place(Path("rules.yaml"), 1)
RAG = Workload("rag", "weft", "rag", {"app": "rag"}, 1, {}, True)
GATEWAY = Workload("gateway", "weft", "gateway", {"app": "gateway"}, 1, {}, True)
CALL = Call("/pkg.Service/Method", {"priority": "high"}, GATEWAY, "rag:50051")


def values(*wanted: str, unwanted: tuple[str, ...] = ()) -> Values:
    return Values(tuple(Pattern(one, HERE) for one in wanted), tuple(Pattern(one, HERE) for one in unwanted))


def policy(action: str, *rules: Rule) -> AuthorizationPolicy:
    return AuthorizationPolicy(action.lower(), "weft", {"app": "rag"}, action, rules, HERE)


def rule(
    principals: Values | None = None,
    namespaces: Values | None = None,
    paths: Values | None = None,
    when: tuple[str, str, Values] | None = None,
) -> Rule:
    sources = (
        () if principals is namespaces is None else (Source(principals or Values(), namespaces or Values(), HERE),)
    )
    operations = () if paths is None else (Operation(Values(), paths, Values(), HERE),)
    conditions = () if when is None else (Condition(*when, HERE),)
    return Rule(sources, operations, conditions, HERE)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (TextMatch(How.EXACT, "/pkg.Service/Method"), "/pkg.Service/Method", True),
        (TextMatch(How.EXACT, "/pkg.Service/Method"), "/pkg.Service/Methods", False),
        (TextMatch(How.PREFIX, "/pkg.Service/"), "/pkg.Service/Method", True),
        (TextMatch(How.PREFIX, "/pkg.Service/"), "/pkg.Services/Method", False),
        (TextMatch(How.REGEX, "/pkg[.].*"), "/pkg.Service/Method", True),
        (TextMatch(How.REGEX, "/pkg[.]"), "/pkg.Service/Method", False),
    ],
)
def test_a_path_is_compared_as_it_is_written(text: TextMatch, value: str, expected: bool) -> None:
    """Exactly, by its beginning, or all of it by a regular expression."""
    assert holds(Match(HERE, uri=text), Call(value, {}, GATEWAY)) is expected


def test_headers_must_be_there_and_missing_ones_count_as_empty() -> None:
    """`headers` asks for one that is there; `withoutHeaders` takes a missing one for an empty text."""
    high, any_text = TextMatch(How.EXACT, "high"), TextMatch(How.PRESENT)
    without = Call("/", {}, GATEWAY)
    assert holds(Match(HERE, headers={"priority": high}), CALL)
    assert not holds(Match(HERE, headers={"priority": high}), without)
    assert not holds(Match(HERE, headers={"priority": any_text}), without)
    assert not holds(Match(HERE, without_headers={"priority": high}), CALL)
    assert holds(Match(HERE, without_headers={"priority": high}), without)
    assert holds(Match(HERE, without_headers={"priority": any_text}), without)
    assert holds(None, without)


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        ([], True),
        ([policy("ALLOW")], False),
        ([policy("ALLOW", rule())], True),
        ([policy("ALLOW", rule(principals=values("cluster.local/ns/weft/sa/gateway")))], True),
        ([policy("ALLOW", rule(principals=values("cluster.local/ns/weft/sa/rag")))], False),
        ([policy("ALLOW", rule(principals=values("*/sa/gateway")))], True),
        ([policy("ALLOW", rule(principals=values("cluster.local/*")))], True),
        ([policy("ALLOW", rule(principals=values(unwanted=("*/sa/gateway",))))], False),
        ([policy("ALLOW", rule(namespaces=values("weft")))], True),
        ([policy("ALLOW", rule(namespaces=values("other")))], False),
        ([policy("ALLOW", rule(paths=values("/pkg.Service/*")))], True),
        ([policy("ALLOW", rule(paths=values("/pkg.Service/*", unwanted=("/pkg.Service/Method",))))], False),
        ([policy("ALLOW", rule(when=("request.headers[priority]", "priority", values("high"))))], True),
        ([policy("ALLOW", rule(when=("request.headers[plan]", "plan", values("*"))))], False),
        ([policy("ALLOW", rule(when=("destination.port", "", values("50051"))))], True),
        ([policy("ALLOW", rule()), policy("DENY", rule(paths=values("*/Method")))], False),
        ([policy("DENY", rule(paths=values("*/Other")))], True),
        ([policy("DENY")], True),
    ],
)
def test_policies_decide_as_istio_does(policies: list[AuthorizationPolicy], allowed: bool) -> None:
    """A DENY that matches refuses; then any ALLOW that is there must match; nothing written forbids nothing."""
    assert verdict(policies, RAG, 50051, CALL).allowed is allowed


def test_a_policy_of_another_workload_does_not_count() -> None:
    """Only those for the workload's own labels and namespace."""
    assert verdict([policy("ALLOW")], GATEWAY, 50051, CALL).allowed
