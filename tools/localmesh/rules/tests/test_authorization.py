"""What AuthorizationPolicy is read into, whom it concerns, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.rules.authorization import AuthorizationPolicy, concerning, read_authorization_policy
from tools.localmesh.rules.tests.written import documents, policy, refusal
from tools.localmesh.workloads import Workload

RAG = Workload("rag", "weft", "rag", {"app": "rag", "version": "stable"}, 1, {}, True)


def read(folder: Path, *texts: str) -> list[AuthorizationPolicy]:
    return [read_authorization_policy(document) for document in documents(folder, *texts)]


def test_an_authorization_policy_is_read_whole(tmp_path: Path) -> None:
    """Every form that is supported."""
    (found,) = read(
        tmp_path,
        policy(
            """
selector: {matchLabels: {app: rag}}
action: DENY
rules:
  - from:
      - source: {principals: [cluster.local/ns/weft/sa/a], notPrincipals: ["*/sa/b"]}
      - source: {namespaces: [weft], notNamespaces: ["o*"]}
    to:
      - operation: {methods: [POST], notMethods: [GET], paths: [/a, "/b*", "*c", "*"], notPaths: [/d]}
      - operation: {ports: ["50051"], notPorts: ["1"]}
    when:
      - {key: "request.headers[priority]", values: [high], notValues: ["l*"]}
      - {key: destination.port, values: ["2"]}
"""
        ),
    )
    (rule,) = found.rules

    def texts(values: Any) -> tuple[list[str], list[str]]:
        return [one.text for one in values.wanted], [one.text for one in values.unwanted]

    assert (found.action, found.selector) == ("DENY", {"app": "rag"})
    first, second = rule.sources
    assert texts(first.principals) == (["cluster.local/ns/weft/sa/a"], ["*/sa/b"])
    assert texts(second.namespaces) == (["weft"], ["o*"])
    assert texts(rule.operations[0].methods) == (["POST"], ["GET"])
    assert texts(rule.operations[0].paths) == (["/a", "/b*", "*c", "*"], ["/d"])
    assert texts(rule.operations[1].ports) == (["50051"], ["1"])
    assert [(one.key, one.header, texts(one.values)) for one in rule.conditions] == [
        ("request.headers[priority]", "priority", (["high"], ["l*"])),
        ("destination.port", "", (["2"], [])),
    ]


def test_policies_are_for_their_namespace_and_the_mesh(tmp_path: Path) -> None:
    """With the labels that a policy names."""
    texts = [
        policy("action: ALLOW\nrules: [{}]", space).replace("one", f"in-{space}")
        for space in ("weft", "istio-system", "x")
    ]
    own = policy("selector: {matchLabels: {app: rag}}\nrules: [{}]").replace("one", "own")
    other = policy("selector: {matchLabels: {app: gateway}}\nrules: [{}]").replace("one", "other")
    found = concerning(read(tmp_path, *texts, own, other), RAG)
    assert [one.name for one in found] == ["in-weft", "in-istio-system", "own"]


def test_spec_with_nothing_in_it_lets_nobody_in(tmp_path: Path) -> None:
    """It is the one policy without rules."""
    (found,) = read(tmp_path, policy("{}"))
    assert (found.action, found.rules, found.selector) == ("ALLOW", (), {})


REFUSED: dict[str, str] = {
    policy("action: AUDIT\nrules: [{}]"): "5: spec.action: 'AUDIT' is not supported",
    policy("action: CUSTOM\nrules: [{}]"): "5: spec.action: 'CUSTOM' is not supported",
    policy("action: allow\nrules: [{}]"): "5: spec.action: 'allow' is not supported",
    policy("action: ALLOW"): "has no rules",
    policy("rules: []"): "5: spec.rules: has no rules",
    policy("action: DENY\nrules: []"): "6: spec.rules: has no rules",
    policy("selector: {matchLabels: {app: rag}}"): "has no rules",
    policy("rules:\n  -\n"): "6: spec.rules[0]: must be a map",
    policy("rules: [{from: []}]"): "spec.rules[0].from: must not be empty",
    policy("rules: [{to: []}]"): "spec.rules[0].to: must not be empty",
    policy("rules: [{when: []}]"): "spec.rules[0].when: must not be empty",
    policy("rules: [{from: [{}]}]"): "spec.rules[0].from[0]: source is missing",
    policy("rules: [{from: [{source: {}}]}]"): "spec.rules[0].from[0].source: must not be empty",
    policy("rules: [{to: [{operation: {}}]}]"): "spec.rules[0].to[0].operation: must not be empty",
    policy("rules: [{from: [{source: {principals: []}}]}]"): "source.principals: must not be empty",
    policy("rules: [{from: [{source: {principals: ['']}}]}]"): "source.principals[0]: must not be empty",
    policy("rules: [{from: [{source: {principals: [spiffe://cluster.local/ns/weft/sa/a]}}]}]"): "adds spiffe:// itself",
    policy("rules: [{from: [{source: {principals: [rag]}}]}]"): "'rag' is nobody's name",
    policy("rules: [{from: [{source: {principals: ['cluster.local/*/sa/a']}}]}]"): "only one * is supported",
    policy("rules: [{from: [{source: {principals: ['*a*']}}]}]"): "only one * is supported",
    policy("rules: [{from: [{source: {namespaces: [We.ft]}}]}]"): "'We.ft' is no namespace",
    policy("rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]"): "source.ipBlocks: is not supported here",
    policy("rules: [{from: [{source: {notIpBlocks: [10.0.0.0/8]}}]}]"): "source.notIpBlocks: is not supported here",
    policy("rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]"): "remoteIpBlocks: is not supported here",
    policy("rules: [{from: [{source: {requestPrincipals: ['*']}}]}]"): "requestPrincipals: is not supported here",
    policy("rules: [{from: [{source: {serviceAccounts: [a]}}]}]"): "serviceAccounts: is not supported here",
    policy("rules: [{to: [{operation: {hosts: [a]}}]}]"): "operation.hosts: is not supported here",
    policy("rules: [{to: [{operation: {notHosts: [a]}}]}]"): "operation.notHosts: is not supported here",
    policy("rules: [{to: [{operation: {methods: [post]}}]}]"): "'post' is no method of HTTP",
    policy("rules: [{to: [{operation: {paths: [a]}}]}]"): "'a' matches nothing: paths begin with /",
    policy("rules: [{to: [{operation: {paths: ['/a/*/b']}}]}]"): "only one * is supported",
    policy("rules: [{to: [{operation: {paths: ['/a/{*}']}}]}]"): "templates",
    policy("rules: [{to: [{operation: {paths: ['/a?b=c']}}]}]"): "? and # are in no path",
    policy("rules: [{to: [{operation: {ports: [50051]}}]}]"): "must be a text, and is a number; write it in quotes",
    policy("rules: [{to: [{operation: {ports: ['70000']}}]}]"): "'70000' is no port",
    policy("rules: [{when: [{key: request.auth.claims, values: [a]}]}]"): "'request.auth.claims' is not supported",
    policy("rules: [{when: [{key: 'request.headers[X-A]', values: [a]}]}]"): "names in lower case",
    policy("rules: [{when: [{key: 'request.headers[host]', values: [a]}]}]"): "a call's host is an address",
    policy("rules: [{when: [{key: 'request.headers[:path]', values: [a]}]}]"): "is not supported; what is",
    policy("rules: [{when: [{key: source.ip, values: [10.0.0.1]}]}]"): "'source.ip' is not supported",
    policy("rules: [{when: [{key: destination.port}]}]"): "needs values or notValues",
    policy("rules: [{when: [{key: destination.port, values: []}]}]"): "values: must not be empty",
    policy("rules: [{when: [{key: 'request.headers[a]', values: ['b*c']}]}]"): "only one * is supported",
    policy("rules: [{}]\nprovider: {name: x}"): "6: spec.provider: is not supported here",
    policy("rules: [{}]\ntargetRefs: []"): "6: spec.targetRefs: is not supported here",
    policy("rules: [{}]\nselector: {}"): "6: spec.selector: matchLabels is missing",
    policy("rules: [{}]\nselector: {matchLabels: {}}"): "spec.selector.matchLabels: selects everything",
    policy("rules: [{}]\nselector: {matchLabels: {app: '*'}}"): "labels have no wildcards",
    policy("rules: [{}]\nselector: {matchExpressions: []}"): "spec.selector.matchExpressions: is not supported here",
    policy("rules: [{}]\nselector: {matchLabels: {app: a}}", "istio-system"): "spec.selector: is not supported in",
    policy("rules: [{}]").replace("weft}", 'weft, annotations: {istio.io/dry-run: "true"}}'): (
        "3: metadata.annotations.istio.io/dry-run: is not supported"
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: " ".join(text.split("spec:")[1].split()))
def test_what_is_not_supported_is_refused(tmp_path: Path, text: str) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, text)
    assert REFUSED[text] in found
