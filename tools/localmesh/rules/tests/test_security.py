"""What PeerAuthentication, AuthorizationPolicy, Gateway and EnvoyFilter are read into, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.problems import MeshError
from tools.localmesh.rules.authorization import concerning, read_authorization_policy
from tools.localmesh.rules.envoy_filters import MANAGER_TYPE, InsertedFilter, MergedManager, read_envoy_filter
from tools.localmesh.rules.gateways import read_gateway
from tools.localmesh.rules.peer_authentication import Mode, effective, read_peer_authentication
from tools.localmesh.rules.tests.written import documents, refusal, written
from tools.localmesh.workloads import Workload

RAG = Workload("rag", "weft", "rag", {"app": "rag", "version": "stable"}, 1, {}, True)

READERS: dict[str, Callable[..., Any]] = {
    "PeerAuthentication": read_peer_authentication,
    "AuthorizationPolicy": read_authorization_policy,
    "Gateway": read_gateway,
    "EnvoyFilter": read_envoy_filter,
}


def read(folder: Path, *texts: str) -> list[Any]:
    return [READERS[document.kind](document) for document in documents(folder, *texts)]


def peers(spec: str, name: str = "one", namespace: str = "weft") -> str:
    return written("PeerAuthentication", spec, name=name, namespace=namespace)


def policy(spec: str, namespace: str = "weft") -> str:
    return written("AuthorizationPolicy", spec, namespace=namespace)


MESH = peers("mtls: {mode: DISABLE}", "mesh", "istio-system")
NAMESPACE = peers("mtls: {mode: PERMISSIVE}", "namespace")
UNSET = peers("mtls: {mode: UNSET}", "namespace")
ELSEWHERE = peers("mtls: {mode: DISABLE}", "elsewhere", "other")
OWN = peers("selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}", "own")
ANOTHERS = peers("selector: {matchLabels: {app: rag, version: canary}}\nmtls: {mode: DISABLE}", "anothers")
PORT = peers(
    "selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}\nportLevelMtls: {50051: {mode: DISABLE}}", "own"
)
ONLY_PORT = peers("selector: {matchLabels: {app: rag}}\nportLevelMtls: {50051: {mode: STRICT}}", "own")
UNSET_PORT = peers(
    "selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}\nportLevelMtls: {50051: {mode: UNSET}}", "own"
)
EFFECTIVE: dict[str, tuple[tuple[str, ...], Mode, Mode]] = {
    "nothing": ((), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "the mesh's": ((MESH,), Mode.DISABLE, Mode.DISABLE),
    "the namespace's before the mesh's": ((NAMESPACE, MESH), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "its own before the namespace's": ((OWN, NAMESPACE, MESH), Mode.STRICT, Mode.STRICT),
    "another namespace's": ((ELSEWHERE,), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "another workload's": ((ANOTHERS, NAMESPACE), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "unset": ((UNSET, MESH), Mode.DISABLE, Mode.DISABLE),
    "not written": ((peers("selector: {matchLabels: {app: rag}}", "own"), MESH), Mode.DISABLE, Mode.DISABLE),
    "a port": ((PORT, NAMESPACE), Mode.DISABLE, Mode.STRICT),
    "a port alone": ((ONLY_PORT, MESH), Mode.STRICT, Mode.DISABLE),
    "an unset port": ((UNSET_PORT, MESH), Mode.STRICT, Mode.STRICT),
}


@pytest.mark.parametrize("name", EFFECTIVE)
def test_the_nearest_peer_authentication_holds(tmp_path: Path, name: str) -> None:
    """For a port of a workload, and for another of its ports, as istiod composes them."""
    texts, at_port, elsewhere = EFFECTIVE[name]
    found = read(tmp_path, *texts) if texts else []
    assert [effective(found, RAG, port).mode for port in (50051, 8080)] == [at_port, elsewhere]


def test_a_mode_tells_where_it_is_written(tmp_path: Path) -> None:
    """The line of the mode, or of the port's; nowhere for Istio's default."""
    found = read(tmp_path, PORT)
    places = [effective(policies, RAG, port).place for policies, port in ((found, 50051), (found, 8080), ([], 8080))]
    assert [place and place.line for place in places] == [7, 6, None]


@pytest.mark.parametrize("texts", [(OWN, PORT.replace("name: own", "name: two")), (NAMESPACE, peers("mtls: {}"))])
def test_of_two_peer_authentications_for_one_thing_none_is_taken(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """A cluster takes the older, and files do not tell."""
    found = read(tmp_path, *texts)
    with pytest.raises(MeshError, match="are both for rag; keep one"):
        effective(found, RAG, 50051)


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
    peers("mtls: {mode: strict}"): "5: spec.mtls.mode: 'strict' is not supported",
    peers("mtls: {mode: STRICT, other: 1}"): "5: spec.mtls.other: is not supported here",
    peers("portLevelMtls: {50051: {mode: STRICT}}"): "5: spec.portLevelMtls: needs a selector",
    peers(
        "selector: {matchLabels: {app: a}}\nportLevelMtls: {0: {mode: STRICT}}"
    ): "portLevelMtls.0: must be the number",
    peers("selector: {matchLabels: {app: a}}\nportLevelMtls: {050051: {mode: STRICT}}"): "must be the number of a port",
    peers("selector: {matchLabels: {app: a}}\nportLevelMtls: {grpc: {mode: STRICT}}"): "must be the number of a port",
    peers("selector: {matchLabels: {app: a}}\nmtls: {mode: STRICT}", namespace="istio-system"): "is not supported in",
    peers("mtls: {mode: STRICT}\nother: 1"): "6: spec.other: is not supported here",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: " ".join(text.split("spec:")[1].split()))
def test_what_is_not_supported_is_refused(tmp_path: Path, text: str) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, text)
    assert REFUSED[text] in found


GATEWAY = """
selector: {istio: edge}
servers:
  - port: {number: 8080, name: plain, protocol: HTTP2}
    hosts: ["*"]
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: edge, minProtocolVersion: TLSV1_3}
"""


def test_a_gateway_is_read_whole(tmp_path: Path) -> None:
    """Its servers in order, with TLS where it is written."""
    (found,) = read(tmp_path, written("Gateway", GATEWAY))
    servers = [(one.number, one.name, one.https, one.hosts, one.least_tls, one.place.line) for one in found.servers]
    assert servers == [(8080, "plain", False, ("*",), "TLSV1_2", 7), (8443, "https", True, ("*",), "TLSV1_3", 9)]
    assert found.selects({"istio": "edge", "app": "edge"})
    assert not found.selects({"app": "edge"})


GATEWAYS: dict[tuple[str, str], str] = {
    ("mode: SIMPLE", "mode: MUTUAL"): "11: spec.servers[1].tls.mode: 'MUTUAL' is not supported",
    ("mode: SIMPLE", "mode: PASSTHROUGH"): "11: spec.servers[1].tls.mode: 'PASSTHROUGH' is not supported",
    ("credentialName: edge", "serverCertificate: a"): "spec.servers[1].tls.serverCertificate: is not supported here",
    ("TLSV1_3", "TLSV1_1"): "minProtocolVersion: 'TLSV1_1' is not supported",
    ("protocol: HTTP2", "protocol: TCP"): "7: spec.servers[0].port.protocol: 'TCP' is not supported",
    ("protocol: HTTP2", "protocol: HTTPS"): "7: spec.servers[0]: HTTPS needs tls",
    ("protocol: HTTPS", "protocol: HTTP"): "11: spec.servers[1].tls: HTTP has no tls",
    ('hosts: ["*"]', "hosts: [a.example]"): '8: spec.servers[0].hosts[0]: only "*" is supported',
    ('hosts: ["*"]', "hosts: []"): "8: spec.servers[0].hosts: must not be empty",
    ("8443", "8080"): "9: spec.servers[1]: another server has the number 8080 too",
    ("name: https", "name: plain"): "9: spec.servers[1]: another server has the name plain too",
    ("{istio: edge}", "{}"): "5: spec.selector: selects every workload",
    ("mode: SIMPLE", "mode: SIMPLE, httpsRedirect: true"): "tls.httpsRedirect: is not supported here",
}  # fmt: skip


@pytest.mark.parametrize("change", GATEWAYS, ids=lambda change: change[1])
def test_what_a_gateway_may_not_say_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, written("Gateway", GATEWAY.replace(*change)))
    assert GATEWAYS[change] in found


FILTER = f"""
workloadSelector: {{labels: {{istio: edge}}}}
configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener:
        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {{name: envoy.filters.http.router}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.grpc_web
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}
  - applyTo: NETWORK_FILTER
    match:
      context: GATEWAY
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}
    patch:
      operation: MERGE
      value:
        name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {MANAGER_TYPE}
          preserve_external_request_id: true
"""


def test_an_envoy_filter_is_read_whole(tmp_path: Path) -> None:
    """A filter as it is written, and fields of the manager."""
    (found,) = read(tmp_path, written("EnvoyFilter", FILTER))
    inserted, merged = found.patches
    name = "envoy.filters.http.grpc_web"
    config = {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}
    assert inserted == InsertedFilter({"name": name, "typed_config": config}, inserted.place)
    assert merged == MergedManager({"preserve_external_request_id": True}, merged.place)
    assert found.selects("weft", {"istio": "edge", "app": "edge"})
    assert not found.selects("weft", {"app": "edge"})
    assert not found.selects("other", {"istio": "edge"})


FILTERS: dict[tuple[str, str], str] = {
    ("applyTo: HTTP_FILTER", "applyTo: CLUSTER"): "7: spec.configPatches[0].applyTo: 'CLUSTER' is not supported",
    ("INSERT_BEFORE", "INSERT_FIRST"): "operation: 'INSERT_FIRST' is not supported; what is: INSERT_BEFORE",
    ("operation: MERGE", "operation: REPLACE"): "operation: 'REPLACE' is not supported; what is: MERGE",
    ("context: GATEWAY", "context: ANY"): "9: spec.configPatches[0].match.context: 'ANY' is not supported",
    ("context: GATEWAY", "context: SIDECAR_INBOUND"): "context: 'SIDECAR_INBOUND' is not supported",
    ("listener:\n", "proxy: {}\n      listener:\n"): "match.proxy: is not supported here",
    ("envoy.filters.http.router", "envoy.filters.http.cors"): "subFilter.name: 'envoy.filters.http.cors' is not",
    ("preserve_external_request_id: true", "use_remote_address: true"): "use_remote_address: is not supported here",
    ("preserve_external_request_id: true", "http_filters: []"): "http_filters: is not supported here",
    ("preserve_external_request_id: true", "merge_slashes: false"): "is the default, which a merge leaves out",
    ("preserve_external_request_id: true", 'request_timeout: ""'): "is the default, which a merge leaves out",
    (MANAGER_TYPE, "type.googleapis.com/other"): "@type: 'type.googleapis.com/other' is not supported",
    ('typed_config: {"@type"', 'typed_config: {"type"'): "typed_config: @type is missing",
    ("{labels: {istio: edge}}", "{labels: {}}"): "5: spec.workloadSelector.labels: selects every workload",
    ("configPatches:", "priority: 1\nconfigPatches:"): "6: spec.priority: is not supported here",
}  # fmt: skip


@pytest.mark.parametrize("change", FILTERS, ids=lambda change: change[1].strip())
def test_what_an_envoy_filter_may_not_say_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, written("EnvoyFilter", FILTER.replace(*change)))
    assert FILTERS[change] in found
