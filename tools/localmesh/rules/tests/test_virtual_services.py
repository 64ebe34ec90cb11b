"""VirtualServices are read as they are written, or refused by line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.problems import MeshError, Place
from tools.localmesh.rules.faults import Abort, Delay, Fault
from tools.localmesh.rules.http_routes import (
    CorsPolicy,
    Destination,
    DirectResponse,
    HeaderChanges,
    Headers,
    Retries,
    Rewrite,
    Timeout,
)
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.rules.tests.written import (
    RAG,
    TO_RAG,
    delegate,
    refusal,
    virtual_service,
    virtual_services,
    written,
)

HERE = Place(Path("anywhere"), 1)
EXACT = TextMatch(How.EXACT, "v")

MATCHES: list[tuple[str, dict[str, Any]]] = [
    ("{name: m, uri: {exact: /a}}", {"name": "m", "uri": TextMatch(How.EXACT, "/a")}),
    ("{uri: {prefix: /A}, ignoreUriCase: true}", {"uri": TextMatch(How.PREFIX, "/A"), "ignore_uri_case": True}),
    ('{uri: {regex: "/a.*"}}', {"uri": TextMatch(How.REGEX, "/a.*")}),
    ("{uri: {regex: '\\(?#x\\\\Z'}}", {"uri": TextMatch(How.REGEX, "\\(?#x\\\\Z")}),
    ("{method: {exact: v}, scheme: {exact: v}}", {"method": EXACT, "scheme": EXACT}),
    ("{authority: {prefix: rag}}", {"authority": TextMatch(How.PREFIX, "rag")}),
    ("{headers: {x-a: {exact: v}, x-b: {}}}", {"headers": {"x-a": EXACT, "x-b": TextMatch(How.PRESENT)}}),
    ("{withoutHeaders: {x-a: {exact: v}}}", {"without_headers": {"x-a": EXACT}}),
    ("{queryParams: {Q: {exact: v}}}", {"query_parameters": {"Q": EXACT}}),
    ("{port: 50051}", {"port": 50051}),
    ("{sourceLabels: {app: gateway}}", {"source_labels": {"app": "gateway"}}),
    ("{sourceNamespace: weft}", {"source_namespace": "weft"}),
    ("{gateways: [mesh, edge, other/edge]}", {"gateways": ("mesh", "weft/edge", "other/edge")}),
]


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_match(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    """Every field of a match that is supported is read."""
    (found,) = virtual_services(tmp_path, virtual_service(f"- match: [{text}]\n  {TO_RAG}"))
    assert found.http[0].matches == (Match(HERE, **expected),)


ROUTES: list[tuple[str, dict[str, Any]]] = [
    (f"name: a\n{TO_RAG}", {"name": "a", "destinations": (Destination(RAG, HERE),)}),
    ("route: [{destination: {host: rag}}]", {"destinations": (Destination(RAG, HERE),)}),
    (
        "route:\n  - destination: {host: rag, subset: s, port: {number: 7}}\n    weight: 5",
        {"destinations": (Destination(RAG, HERE, subset="s", port=7, weight=5),)},
    ),
    (
        "route: [{destination: {host: rag}, headers: {request: {remove: [x-a]}}}]",
        {"destinations": (Destination(RAG, HERE, headers=Headers(HeaderChanges(remove=("x-a",)))),)},
    ),
    (f"timeout: 1m1s\n{TO_RAG}", {"timeout": Timeout(61.0, HERE)}),
    (f"{TO_RAG}", {"timeout": None, "retries": None, "fault": None}),
    (f"retries: {{attempts: 0}}\n{TO_RAG}", {"retries": Retries(0)}),
    (
        f'retries: {{attempts: 3, perTryTimeout: 250ms, retryOn: "503,unavailable", backoff: 50ms}}\n{TO_RAG}',
        {"retries": Retries(3, per_try_timeout_s=0.25, on=("503", "unavailable"), backoff_s=0.05)},
    ),
    (
        f"retries: {{attempts: 1, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}}\n{TO_RAG}",
        {"retries": Retries(1, ignore_previous_hosts=False, remote_localities=True)},
    ),
    (
        f"fault: {{delay: {{percentage: {{value: 0.1}}, fixedDelay: 1s}}}}\n{TO_RAG}",
        {"fault": Fault(Delay(1000, 1.0))},
    ),
    # As Go has it: 0.57 * 10000 is a little less than 5700.
    (
        f"fault: {{abort: {{percentage: {{value: 0.57}}, grpcStatus: UNAVAILABLE}}}}\n{TO_RAG}",
        {"fault": Fault(abort=Abort(5699, grpc_status=14))},
    ),
    (
        f"fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 503}}}}\n{TO_RAG}",
        {"fault": Fault(abort=Abort(1_000_000, http_status=503))},
    ),
    (
        f"headers: {{request: {{set: {{a: b}}, add: {{c: d}}}}, response: {{remove: [e]}}}}\n{TO_RAG}",
        {"headers": Headers(HeaderChanges({"a": "b"}, {"c": "d"}), HeaderChanges(remove=("e",)))},
    ),
    (
        "corsPolicy: {allowOrigins: [{exact: v}], allowMethods: [GET], maxAge: 1m, allowCredentials: true}\n" + TO_RAG,
        {"cors_policy": CorsPolicy((EXACT,), ("GET",), max_age_s=60, allow_credentials=True)},
    ),
    (
        f"corsPolicy: {{allowHeaders: [a], exposeHeaders: [b], unmatchedPreflights: IGNORE}}\n{TO_RAG}",
        {"cors_policy": CorsPolicy(allow_headers=("a",), expose_headers=("b",), forward_unmatched=False)},
    ),
    ('directResponse: {status: 503, body: {string: "gone"}}', {"direct_response": DirectResponse(503, "gone")}),
    (f"rewrite: {{uri: /b, authority: c}}\n{TO_RAG}", {"rewrite": Rewrite("/b", "c")}),
]


@pytest.mark.parametrize(("text", "expected"), ROUTES)
def test_route(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    """Every field of a route that is supported is read; host names without a dot are of the rule's namespace."""
    lines = text.replace("\n", "\n  ")
    (found,) = virtual_services(tmp_path, virtual_service(f"- {lines}"))
    assert {name: getattr(found.http[0], name) for name in expected} == expected


def test_places(tmp_path: Path) -> None:
    """What is shown of a route knows its line."""
    text = f"- match:\n    - uri: {{exact: /a}}\n  timeout: 1s\n  retries: {{attempts: 1}}\n  {TO_RAG}"
    (found,) = virtual_services(tmp_path, virtual_service(text))
    route = found.http[0]
    assert route.timeout and route.retries and route.retries.place
    places = [found.place, route.place, route.matches[0].place, route.timeout.place, route.retries.place]
    assert [place.line for place in [*places, route.destinations[0].place]] == [1, 7, 8, 9, 10, 11]


def test_for_whom(tmp_path: Path) -> None:
    """Without gateways a VirtualService is for the mesh; exportTo "." makes it private."""
    spec = f"hosts: ['*']\ngateways: [edge]\nexportTo: ['.']\nhttp: [{{{TO_RAG}}}]"
    (found,) = virtual_services(tmp_path, written("VirtualService", spec))
    assert (found.hosts, found.gateways, found.private) == (("*",), ("weft/edge",), True)
    (other,) = virtual_services(tmp_path, virtual_service(f"- {TO_RAG}"))
    assert (other.hosts, other.gateways, other.private) == ((RAG,), ("mesh",), False)


MATCH_REFUSALS = [
    ("{uris: {exact: /a}}", "uris: is not supported here"),
    ("{statPrefix: a}", "statPrefix: is not supported here"),
    ("{uri: {suffix: /a}}", "uri.suffix: is not supported here"),
    ("{uri: {exact: /a, prefix: /a}}", "uri: needs one of exact, prefix, regex"),
    ("{uri: {}}", "uri: needs one of exact, prefix, regex"),
    ('{uri: {prefix: ""}}', "uri.prefix: must not be empty"),
    ('{uri: {regex: "/(?!a)"}}', "uri.regex: RE2, which Envoy has, lacks lookahead and lookbehind"),
    ('{uri: {regex: "(a)\\\\1"}}', "uri.regex: RE2, which Envoy has, lacks backreferences"),
    ('{uri: {regex: "a++"}}', "uri.regex: RE2, which Envoy has, lacks possessive repeats"),
    ('{uri: {regex: "(a"}}', "uri.regex: '(a' is no regular expression, or one that only RE2"),
    ('{uri: {regex: "*"}}', 'uri.regex: "*" is no regular expression'),
    ('{uri: {regex: "a\\\\Z"}}', "uri.regex: \\Z is not known to RE2"),
    ('{uri: {regex: "a{,3}"}}', "uri.regex: {,n} is plain text to RE2"),
    ('{uri: {regex: "a{1001}"}}', "uri.regex: RE2, which Envoy has, repeats at most 1000 times"),
    ('{uri: {regex: "((ab){40}c){30}"}}', "uri.regex: RE2, which Envoy has, repeats at most 1000 times"),
    ('{uri: {regex: "[a\\\\b]"}}', "uri.regex: \\b in brackets is not known to RE2"),
    ('{uri: {regex: "\\\\é"}}', "uri.regex: \\é is not known to RE2"),
    ('{uri: {regex: "(?#no)a"}}', "uri.regex: (?# is not known to RE2"),
    ('{uri: {regex: "' + "a" * 1025 + '"}}', "uri.regex: has 1025 characters; at most 1024"),
    ("{ignoreUriCase: true}", "ignoreUriCase: is for uri: {exact: ...} and {prefix: ...} only"),
    ('{uri: {regex: "a"}, ignoreUriCase: true}', "ignoreUriCase: is for uri"),
    ("{headers: {X-A: {exact: v}}}", "headers.X-A: write x-a: names of headers are in lower case"),
    ('{headers: {"@request.auth.claims.a": {exact: v}}}', "headers.@request.auth.claims.a: is not supported here"),
    ('{headers: {":path": {exact: v}}}', "headers.:path: is not supported here: only plain headers are"),
    ("{headers: {y: {exact: v}}}", "headers.y: the name y is a boolean to Kubernetes"),
    ("{withoutHeaders: {X-A: {}}}", "withoutHeaders.X-A: write x-a"),
    ('{headers: {a: {regex: "*"}}}', 'headers.a.regex: "*" is no regular expression; write {}'),
    ("{port: 0}", "port: 0 is not within 1 to 65535"),
    ("{gateways: []}", "gateways: must not be empty"),
    ("{gateways: [edge.weft]}", "gateways[0]: write it as NAME or NAMESPACE/NAME"),
    ("{gateways: [mesh], sourceLabels: {app: rag}}", "gateways: Istio ignores sourceLabels and sourceNamespace beside"),
]


@pytest.mark.parametrize(("text", "expected"), MATCH_REFUSALS)
def test_match_refused(tmp_path: Path, text: str, expected: str) -> None:
    """What is not supported in a match is refused at its line and field."""
    (found,) = refusal(tmp_path, virtual_services, virtual_service(f"- match:\n    - {text}\n  {TO_RAG}"))
    prefix = "8: spec.http[0].match[0]."
    assert found.startswith(prefix + expected), found


ROUTE_REFUSALS = [
    ("name: a", "7: spec.http[0]: needs one of route, directResponse, delegate, and has none"),
    (
        f"{TO_RAG}\ndelegate: {{name: a}}",
        "7: spec.http[0]: needs one of route, directResponse, delegate, and has route",
    ),
    ("redirect: {uri: /a}", "7: spec.http[0].redirect: is not supported here"),
    (f"{TO_RAG}\nmirror: {{host: rag}}", "8: spec.http[0].mirror: is not supported here"),
    ("route: []", "7: spec.http[0].route: must not be empty"),
    ("route: [{weight: 1}]", "7: spec.http[0].route[0]: destination is missing"),
    ("route: [{destination: {host: '*.weft'}}]", "7: spec.http[0].route[0].destination.host: '*.weft' stands for many"),
    ("route: [{destination: {host: RAG}}]", "7: spec.http[0].route[0].destination.host: write rag"),
    ("route: [{destination: {host: rag}, weight: -1}]", "7: spec.http[0].route[0].weight: -1 is not within 0 to"),
    (f"{TO_RAG}\ntimeout: 0s", "8: spec.http[0].timeout: 0s is less than 1ms, the least that Istio takes; for none"),
    (f"{TO_RAG}\ntimeout: 5", "8: spec.http[0].timeout: must be a text"),
    (f"{TO_RAG}\ntimeout: 1.0005s", "8: spec.http[0].timeout: 1.0005s is finer than a millisecond"),
    (f"{TO_RAG}\nretries: {{}}", "8: spec.http[0].retries: attempts is missing"),
    (f"{TO_RAG}\nretries: {{attempts: 0, retryOn: reset}}", "8: spec.http[0].retries: attempts: 0 means no retries"),
    (f"{TO_RAG}\nretries: {{attempts: 1, retryOn: oops}}", "8: spec.http[0].retries.retryOn: 'oops' is no reason"),
    (f"{TO_RAG}\nretries: {{attempts: 1, retryOn: '5xx, reset'}}", "8: spec.http[0].retries.retryOn: ' reset' is no"),
    (f"{TO_RAG}\nretries: {{attempts: 1, retryOn: '999'}}", "8: spec.http[0].retries.retryOn: '999' is no reason"),
    (f"{TO_RAG}\nfault: {{}}", "8: spec.http[0].fault: needs a delay, an abort or both"),
    (f"{TO_RAG}\nfault: {{delay: {{fixedDelay: 1s}}}}", "8: spec.http[0].fault.delay: percentage is missing"),
    (
        f"{TO_RAG}\nfault: {{delay: {{percentage: {{value: 101}}, fixedDelay: 1s}}}}",
        "8: spec.http[0].fault.delay.percentage.value: 101 is not within 0 to 100",
    ),
    (
        f"{TO_RAG}\nfault: {{delay: {{percentage: {{value: 0.00001}}, fixedDelay: 1s}}}}",
        "8: spec.http[0].fault.delay.percentage.value: is less than 0.0001",
    ),
    (
        f"{TO_RAG}\nfault: {{delay: {{percentage: {{value: 1}}, exponentialDelay: 1s}}}}",
        "8: spec.http[0].fault.delay.exponentialDelay: is not supported here",
    ),
    (
        f"{TO_RAG}\nfault: {{abort: {{percentage: {{value: 1}}}}}}",
        "8: spec.http[0].fault.abort: needs one of httpStatus and grpcStatus",
    ),
    (
        f"{TO_RAG}\nfault: {{abort: {{percentage: {{value: 1}}, grpcStatus: GONE}}}}",
        "8: spec.http[0].fault.abort.grpcStatus: 'GONE' is not supported",
    ),
    (f"{TO_RAG}\nheaders: {{request: {{set: {{X-A: b}}}}}}", "8: spec.http[0].headers.request.set.X-A: write x-a"),
    (f"{TO_RAG}\nheaders: {{request: {{set: {{host: b}}}}}}", "8: spec.http[0].headers.request.set.host: is not supp"),
    (f"{TO_RAG}\nheaders: {{request: {{add: {{a: '%B%'}}}}}}", "8: spec.http[0].headers.request.add.a: % begins what"),
    (f"{TO_RAG}\nheaders: {{response: {{remove: [X-A]}}}}", "8: spec.http[0].headers.response.remove[0]: write x-a"),
    (f"{TO_RAG}\ncorsPolicy: {{allowOrigin: [a]}}", "8: spec.http[0].corsPolicy.allowOrigin: is not supported here"),
    (f"{TO_RAG}\ncorsPolicy: {{maxAge: 1500ms}}", "8: spec.http[0].corsPolicy.maxAge: 1500ms is finer than a second"),
    (f"{TO_RAG}\ncorsPolicy: {{allowMethods: [get]}}", "8: spec.http[0].corsPolicy.allowMethods[0]: 'get' is not supp"),
    ("directResponse: {status: 99}", "7: spec.http[0].directResponse.status: 99 is not within 200 to 599"),
    ("directResponse: {status: 200}\nrewrite: {uri: /a}", "8: spec.http[0].rewrite: has no meaning beside directResp"),
    (f"{TO_RAG}\nrewrite: {{uriRegexRewrite: {{match: a}}}}", "8: spec.http[0].rewrite.uriRegexRewrite: is not supp"),
]


@pytest.mark.parametrize(("text", "expected"), ROUTE_REFUSALS)
def test_route_refused(tmp_path: Path, text: str, expected: str) -> None:
    """What is not supported in a route is refused at its line and field."""
    lines = text.replace("\n", "\n  ")
    (found,) = refusal(tmp_path, virtual_services, virtual_service(f"- {lines}"))
    assert found.startswith(expected), found


SPEC_REFUSALS = [
    (f"hosts: [rag]\ntcp: []\nhttp: [{{{TO_RAG}}}]", "6: spec.tcp: is not supported here"),
    ("hosts: [rag]", "4: spec: http is missing"),
    ("hosts: [rag]\nhttp: []", "6: spec.http: must not be empty"),
    (f"hosts: []\nhttp: [{{{TO_RAG}}}]", "5: spec.hosts: must not be empty; a delegate leaves it out"),
    (f"hosts: ['*']\nhttp: [{{{TO_RAG}}}]", '5: spec.hosts[0]: "*" is for Gateways only'),
    (f"hosts: ['*.weft']\nhttp: [{{{TO_RAG}}}]", "5: spec.hosts[0]: '*.weft' stands for many hosts"),
    (f"hosts: [rag, {RAG}]\nhttp: [{{{TO_RAG}}}]", f"5: spec.hosts[1]: {RAG} is there twice"),
    (f"hosts: [rag]\nexportTo: []\nhttp: [{{{TO_RAG}}}]", '6: spec.exportTo: needs "*" or "."'),
    (f"hosts: [rag]\nexportTo: ['.', '*']\nhttp: [{{{TO_RAG}}}]", '6: spec.exportTo: needs "*" or "."'),
    (f"hosts: [rag]\nexportTo: [other]\nhttp: [{{{TO_RAG}}}]", "6: spec.exportTo[0]: 'other' is not supported"),
    (f"gateways: [edge]\nhttp: [{{{TO_RAG}}}]", "5: spec.gateways: a VirtualService without hosts is a delegate"),
    ("http: [{delegate: {name: a}}]", "5: spec.http[0].delegate: a delegate cannot hand on to another"),
]


@pytest.mark.parametrize(("spec", "expected"), SPEC_REFUSALS)
def test_refused(tmp_path: Path, spec: str, expected: str) -> None:
    """What is not supported in a VirtualService is refused at its line and field."""
    (found,) = refusal(tmp_path, virtual_services, written("VirtualService", spec))
    assert found.startswith(expected), found


def test_file_is_named(tmp_path: Path) -> None:
    """A refusal begins with the file."""
    text = virtual_service("- delegate: {name: gone}")
    with pytest.raises(MeshError, match=f"^{tmp_path / 'rules.yaml'}:7: spec.http"):
        virtual_services(tmp_path, text, delegate(f"- {TO_RAG}", name="unused"))
