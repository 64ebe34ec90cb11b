"""Routes are what istiod makes of the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.envoy.routes import edge_routes, outbound_routes
from tools.localmesh.envoy.tests.traffic import GATEWAY, PLAIN, PORT, SERVER, SERVICES, a_mesh, client, routes
from tools.localmesh.mesh import Json
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.faults import Delay, Fault
from tools.localmesh.rules.tests.written import RAG, TO_RAG, virtual_service, written

CLUSTER = f"outbound|50051||{RAG}@client-0"
PREVIOUS_HOSTS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
RETRIES = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "host_selection_retry_max_attempts": 5,
    "retry_host_predicate": [
        {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": PREVIOUS_HOSTS}}
    ],
}
ACTION = {"cluster": CLUSTER, "timeout": "0s", "max_grpc_timeout": "0s", "retry_policy": RETRIES}


def test_default(tmp_path: Path) -> None:
    """Without a VirtualService calls go to the Service, with Istio's retries and without a timeout."""
    assert routes(a_mesh(tmp_path, PLAIN)) == [{"name": "default", "match": {"prefix": "/"}, "route": ACTION}]


def test_whole(tmp_path: Path) -> None:
    """A route configuration takes a call by whatever name, and is called as its listener asks for it."""
    mesh = a_mesh(tmp_path, virtual_service(f"- name: a\n  {TO_RAG}"))
    found = outbound_routes(mesh, client(mesh), SERVICES[0], PORT)
    assert found == {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": f"outbound|{RAG}:50051@client-0",
        "virtual_hosts": [
            {
                "name": f"{RAG}:50051",
                "domains": ["*"],
                "routes": [{"name": "a", "match": {"prefix": "/"}, "route": ACTION}],
                "include_request_attempt_count": True,
            }
        ],
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }


MATCHES: list[tuple[str, Json]] = [
    ("{uri: {exact: /a}}", {"path": "/a", "case_sensitive": True}),
    ("{uri: {prefix: /a}, ignoreUriCase: true}", {"prefix": "/a", "case_sensitive": False}),
    ('{uri: {regex: "/a.*"}}', {"safe_regex": {"regex": "/a.*"}, "case_sensitive": True}),
    (
        "{headers: {b: {exact: v}, a: {}}, method: {exact: POST}}",
        {
            "prefix": "/",
            "case_sensitive": True,
            "headers": [
                {"name": "a", "present_match": True},
                {"name": "b", "string_match": {"exact": "v"}},
                {"name": ":method", "string_match": {"exact": "POST"}},
            ],
        },
    ),
    (
        "{withoutHeaders: {b: {}, a: {prefix: v}}}",
        {
            "prefix": "/",
            "case_sensitive": True,
            "headers": [
                {
                    "name": "a",
                    "string_match": {"prefix": "v"},
                    "invert_match": True,
                    "treat_missing_header_as_empty": True,
                },
                {"name": "b", "present_match": True, "invert_match": True},
            ],
        },
    ),
    (
        "{queryParams: {a: {regex: v+}}}",
        {
            "prefix": "/",
            "case_sensitive": True,
            "query_parameters": [{"name": "a", "string_match": {"safe_regex": {"regex": "v+"}}}],
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_match(tmp_path: Path, text: str, expected: Json) -> None:
    """Every kind of match means what istiod makes of it."""
    assert routes(a_mesh(tmp_path, virtual_service(f"- match: [{text}]\n  {TO_RAG}")))[0]["match"] == expected


ACTIONS: list[tuple[str, Json]] = [
    ("timeout: 1500ms", {"timeout": "1.5s", "max_grpc_timeout": "1.5s"}),
    ("retries: {attempts: 0}", {"retry_policy": None}),
    ("retries: {attempts: 3}", {"retry_policy": RETRIES | {"num_retries": 3}}),
    (
        'retries: {attempts: 2, retryOn: "503,unavailable", perTryTimeout: 250ms, backoff: 50ms}',
        {
            "retry_policy": RETRIES
            | {
                "retry_on": "unavailable,retriable-status-codes",
                "retriable_status_codes": [503],
                "per_try_timeout": "0.25s",
                "retry_back_off": {"base_interval": "0.05s"},
            }
        },
    ),
    (
        "retries: {attempts: 2, retryIgnorePreviousHosts: false}",
        {"retry_policy": {name: value for name, value in RETRIES.items() if name != "retry_host_predicate"}},
    ),
    ("rewrite: {uri: /b, authority: c}", {"prefix_rewrite": "/b", "host_rewrite_literal": "c"}),
]


@pytest.mark.parametrize(("text", "expected"), ACTIONS)
def test_action(tmp_path: Path, text: str, expected: Json) -> None:
    """What is done with a call is what istiod makes of it."""
    (route,) = routes(a_mesh(tmp_path, virtual_service(f"- {text}\n  {TO_RAG}")))
    wanted = {name: value for name, value in {**ACTION, **expected}.items() if value is not None}
    assert route["route"] == wanted


FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
CORS = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
FILTERS: list[tuple[str, Json]] = [
    (
        "fault: {delay: {percentage: {value: 0.1}, fixedDelay: 1s}}",
        {
            "envoy.filters.http.fault": {
                "@type": FAULT,
                "delay": {"fixed_delay": "1s", "percentage": {"numerator": 1000, "denominator": "MILLION"}},
            }
        },
    ),
    (
        "fault: {abort: {percentage: {value: 100}, grpcStatus: OK}}",
        {
            "envoy.filters.http.fault": {
                "@type": FAULT,
                "abort": {"grpc_status": 0, "percentage": {"numerator": 1000000, "denominator": "MILLION"}},
            }
        },
    ),
    (
        "corsPolicy: {allowOrigins: [{regex: a+}], allowMethods: [GET, PUT], maxAge: 24h, allowCredentials: false}",
        {
            "envoy.filters.http.cors": {
                "@type": CORS,
                "allow_origin_string_match": [{"safe_regex": {"regex": "a+"}}],
                "allow_methods": "GET,PUT",
                "max_age": "86400",
                "allow_credentials": False,
                "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                "forward_not_matching_preflights": True,
            }
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), FILTERS)
def test_filters(tmp_path: Path, text: str, expected: Json) -> None:
    """Faults are in millionths; CORS is a policy of its route."""
    (route,) = routes(a_mesh(tmp_path, virtual_service(f"- {text}\n  {TO_RAG}")))
    assert route["typed_per_filter_config"] == expected


def test_shares(tmp_path: Path) -> None:
    """Of several destinations those without a weight are left out, and each has its own headers."""
    text = (
        "- headers: {request: {set: {b: c, a: d}, add: {e: f}}}\n  route:\n"
        "    - {destination: {host: rag, subset: stable}, weight: 90, headers: {response: {remove: [x]}}}\n"
        "    - {destination: {host: other, port: {number: 8080}}, weight: 10}\n    - {destination: {host: rag}}"
    )
    (route,) = routes(a_mesh(tmp_path, virtual_service(text)))
    assert route["route"]["weighted_clusters"]["clusters"] == [
        {"name": f"outbound|50051|stable|{RAG}@client-0", "weight": 90, "response_headers_to_remove": ["x"]},
        {"name": "outbound|8080||other.weft.svc.cluster.local@client-0", "weight": 10},
    ]
    assert route["request_headers_to_add"] == [
        {"header": {"key": "a", "value": "d"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "b", "value": "c"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "e", "value": "f"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
    ]


def test_only_destination(tmp_path: Path) -> None:
    """The only destination gets everything whatever its weight, and its headers come after the route's."""
    text = (
        "- headers: {request: {remove: [a]}}\n  route:\n"
        "    - {destination: {host: rag}, weight: 0, headers: {request: {remove: [b]}}}"
    )
    (route,) = routes(a_mesh(tmp_path, virtual_service(text)))
    assert (route["route"]["cluster"], route["request_headers_to_remove"]) == (CLUSTER, ["a", "b"])


CLIENTS = [
    ("{sourceLabels: {app: client}}", True),
    ("{sourceLabels: {app: client, version: canary}}", False),
    ("{sourceNamespace: weft}", True),
    ("{sourceNamespace: other}", False),
    ("{gateways: [mesh]}", True),
    ("{gateways: [edge]}", False),
    ("{port: 50051}", True),
    ("{port: 8080}", False),
]


@pytest.mark.parametrize(("text", "mine"), CLIENTS)
def test_whose_calls(tmp_path: Path, text: str, mine: bool) -> None:
    """A match that asks who calls is there for those clients only; without any route Istio's default is."""
    found = routes(a_mesh(tmp_path, virtual_service(f"- name: a\n  match: [{text}]\n  {TO_RAG}")))
    assert [route["name"] for route in found] == ["a" if mine else "default"]


def test_names_and_end(tmp_path: Path) -> None:
    """Routes have Istio's names, and end with the one that takes everything."""
    text = (
        f"- name: a\n  match: [{{name: m, uri: {{exact: /a}}}}, {{uri: {{exact: /b}}}}]\n  {TO_RAG}\n"
        f"- name: b\n  match: [{{uri: {{regex: '.*'}}}}]\n  {TO_RAG}\n- name: c\n  {TO_RAG}"
    )
    assert [route["name"] for route in routes(a_mesh(tmp_path, virtual_service(text)))] == ["a.m", "a", "b"]


def test_a_match_by_what_is_missing_is_not_the_end(tmp_path: Path) -> None:
    """Who has the header goes on to the next route."""
    text = f"- name: a\n  match: [{{withoutHeaders: {{b: {{}}}}}}]\n  {TO_RAG}\n- name: c\n  {TO_RAG}"
    assert [route["name"] for route in routes(a_mesh(tmp_path, virtual_service(text)))] == ["a", "c"]


def test_a_drill_goes_before_what_is_written(tmp_path: Path) -> None:
    """It is what somebody asks for now."""
    text = f"- fault: {{abort: {{percentage: {{value: 1}}, httpStatus: 503}}}}\n  {TO_RAG}"
    mesh = a_mesh(tmp_path, virtual_service(text), drills={RAG: Fault(delay=Delay(10, 1.0))})
    (fault,) = routes(mesh)[0]["typed_per_filter_config"].values()
    assert (fault.get("abort"), fault["delay"]["percentage"]["numerator"]) == (None, 10)


def test_private(tmp_path: Path) -> None:
    """A VirtualService that its namespace keeps to itself is none for others."""
    spec = f"hosts: [{RAG}]\nexportTo: ['.']\nhttp: [{{name: a, {TO_RAG}}}]"
    mine = routes(a_mesh(tmp_path, written("VirtualService", spec)))
    others = routes(a_mesh(tmp_path, written("VirtualService", spec, namespace="other")))
    assert (mine[0]["name"], others[0]["name"]) == ("a", "default")
    edge = written("VirtualService", spec.replace("http:", "gateways: [weft/edge]\nhttp:"), namespace="other")
    mesh = a_mesh(tmp_path, edge)
    (host,) = edge_routes(mesh, client(mesh), GATEWAY, SERVER)["virtual_hosts"]
    assert host["routes"] == []


UNKNOWN = [
    ("host: gone.weft.svc.cluster.local", "host: there is no Service gone.weft.svc.cluster.local"),
    ("host: other", "port: other.weft.svc.cluster.local has no port 50051; it has 8080"),
]


@pytest.mark.parametrize(("destination", "expected"), UNKNOWN)
def test_nowhere(tmp_path: Path, destination: str, expected: str) -> None:
    """A destination that is nowhere is refused, even if nobody checked the rules."""
    mesh = a_mesh(tmp_path, virtual_service(f"- route: [{{destination: {{{destination}}}}}]"))
    with pytest.raises(MeshError, match=f"rules.yaml:7: spec.http.0..route.0..destination.{expected}"):
        routes(mesh)
