"""Clusters and endpoints are what istiod makes of the same rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.localmesh.envoy.clusters import destination_rule, endpoints, outbound_clusters, outbound_targets
from tools.localmesh.envoy.sources import CONFIG_SOURCE
from tools.localmesh.envoy.tests.traffic import PORT, SERVICES, SUBSETS, a_mesh, client
from tools.localmesh.mesh import Json, Mesh
from tools.localmesh.rules.tests.written import RAG, TO_RAG, virtual_service, written

MOST = 4294967295
UNBOUNDED = {
    "max_connections": MOST,
    "max_pending_requests": MOST,
    "max_requests": MOST,
    "max_retries": MOST,
    "track_remaining": True,
}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP2: Json = {
    OPTIONS: {
        "@type": f"type.googleapis.com/{OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def rule(spec: str, namespace: str = "weft") -> str:
    return written("DestinationRule", f"host: {RAG}\n{spec}", namespace=namespace)


def clusters(mesh: Mesh) -> dict[str, Json]:
    """Those of the client's calls to `rag`, by subset, or by host where it is another."""
    found = {}
    for target, cluster in zip(
        outbound_targets(mesh, client(mesh), SERVICES[0], PORT),
        outbound_clusters(mesh, client(mesh), SERVICES[0], PORT),
        strict=True,
    ):
        found[target.subset if target.service is SERVICES[0] else target.service.name] = cluster
    return found


def test_default(tmp_path: Path) -> None:
    """Without a DestinationRule: no bounds, the less loaded of two, HTTP/2, and never a replica that is not well."""
    found = clusters(a_mesh(tmp_path, rule("trafficPolicy: {tls: {mode: DISABLE}}")))[""]
    assert found.pop("eds_cluster_config") == {"eds_config": CONFIG_SOURCE}
    assert found == {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": f"outbound|50051||{RAG}@client-0",
        "alt_stat_name": "outbound|50051||weft/rag@client-0",
        "type": "EDS",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [UNBOUNDED]},
        "ignore_health_on_host_removal": True,
        "typed_extension_protocol_options": HTTP2,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "lb_policy": "LEAST_REQUEST",
    }


POLICIES: list[tuple[str, Json]] = [
    ("loadBalancer: {simple: RANDOM}", {"lb_policy": "RANDOM"}),
    (
        "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}",
        {
            "lb_policy": "ROUND_ROBIN",
            "round_robin_lb_config": {
                "slow_start_config": {
                    "slow_start_window": "30s",
                    "aggression": {"default_value": 1.0, "runtime_key": "("},
                    "min_weight_percent": {"value": 10.0},
                }
            },
        },
    ),
    (
        "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 250ms}, http: {http2MaxRequests: 2, maxRetries: 3, "
        "http1MaxPendingRequests: 4}}",
        {
            "connect_timeout": "0.25s",
            "circuit_breakers": {
                "thresholds": [
                    {
                        "max_connections": 1,
                        "max_pending_requests": 4,
                        "max_requests": 2,
                        "max_retries": 3,
                        "track_remaining": True,
                    }
                ]
            },
        },
    ),
    (
        "connectionPool: {tcp: {maxConnectionDuration: 1m}, http: {maxRequestsPerConnection: 5, idleTimeout: 6s, "
        "maxConcurrentStreams: 7}}",
        {
            "typed_extension_protocol_options": {
                OPTIONS: {
                    "@type": f"type.googleapis.com/{OPTIONS}",
                    "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 7}},
                    "common_http_protocol_options": {
                        "idle_timeout": "6s",
                        "max_requests_per_connection": 5,
                        "max_connection_duration": "60s",
                    },
                }
            }
        },
    ),
    (
        "retryBudget: {percent: 12.5, budgetInterval: 10s}",
        {
            "circuit_breakers": {
                "thresholds": [
                    UNBOUNDED
                    | {
                        "retry_budget": {
                            "budget_percent": {"value": 12.5},
                            "min_retry_concurrency": 3,
                            "budget_interval": "10s",
                        }
                    }
                ]
            }
        },
    ),
    ("outlierDetection: {}", {"outlier_detection": {"enforcing_success_rate": 0}}),
    (
        "outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 5, interval: 1s, baseEjectionTime: 5s, "
        "maxEjectionPercent: 50, minHealthPercent: 20}",
        {
            "outlier_detection": {
                "enforcing_success_rate": 0,
                "consecutive_5xx": 0,
                "enforcing_consecutive_5xx": 0,
                "consecutive_gateway_failure": 5,
                "enforcing_consecutive_gateway_failure": 100,
                "interval": "1s",
                "base_ejection_time": "5s",
                "max_ejection_percent": 50,
            },
            "common_lb_config": {"healthy_panic_threshold": {"value": 20}},
        },
    ),
    (
        "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}, "
        "loadBalancer: {localityLbSetting: {failover: [{from: local, to: far}]}}",
        {
            "outlier_detection": {
                "enforcing_success_rate": 0,
                "consecutive_local_origin_failure": 3,
                "enforcing_consecutive_local_origin_failure": 100,
                "split_external_local_origin_errors": True,
                "enforcing_local_origin_success_rate": 0,
            },
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "locality_weighted_lb_config": {}},
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), POLICIES)
def test_policy(tmp_path: Path, text: str, expected: Json) -> None:
    """Every part of a trafficPolicy means what istiod makes of it."""
    found = clusters(a_mesh(tmp_path, rule(f"trafficPolicy: {{{text}}}")))[""]
    assert {name: found[name] for name in expected} == expected


def test_which(tmp_path: Path) -> None:
    """There is one for the Service, for each subset, and for what else calls are led to."""
    led = virtual_service("- route: [{destination: {host: other, port: {number: 8080}}}]")
    found = clusters(a_mesh(tmp_path, rule(SUBSETS), led))
    assert list(found) == ["", "stable", "canary", "other"]
    options = found["other"]["typed_extension_protocol_options"][OPTIONS]
    assert options["explicit_http_config"] == {"http_protocol_options": {}}


TLS = "trafficPolicy: {{tls: {{mode: {}}}}}"


def test_transport(tmp_path: Path) -> None:
    """Mutual TLS is spoken where it is written, and where nothing is; not where it is forbidden."""
    for text, expected in (("", True), (TLS.format("ISTIO_MUTUAL"), True), (TLS.format("DISABLE"), False)):
        assert ("transport_socket" in clusters(a_mesh(tmp_path, rule(text)))[""]) is expected


def test_whose_rule(tmp_path: Path) -> None:
    """The rule of the client's and the Service's namespace is used, then the mesh's own; none of another's."""
    slow, fast = (f"trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {one}s}}}}}}" for one in (7, 3))
    cases = (
        ((rule(slow, "istio-system"),), "7s"),
        ((rule(slow, "istio-system"), rule(fast)), "3s"),
        ((rule(slow, "elsewhere"),), "10s"),
        ((rule(slow + "\nexportTo: ['.']", "istio-system"),), "10s"),
    )
    for texts, expected in cases:
        assert clusters(a_mesh(tmp_path, *texts))[""]["connect_timeout"] == expected
    mesh = a_mesh(tmp_path, rule(slow, "elsewhere"), rule(fast))
    stranger = replace(client(mesh), workload=replace(client(mesh).workload, namespace="elsewhere"))
    found = destination_rule(mesh, stranger, SERVICES[0])
    assert found and found.namespace == "elsewhere"


REPLICAS = {
    "far-0": ("stable", "far/a"),
    "near-0": ("stable", "local/a"),
    "near-1": ("canary", "local/a"),
    "beside-0": ("stable", "local/b"),
    "other-0": ("stable", "other/a"),
}
FAILOVER = "loadBalancer: {localityLbSetting: {failover: [{from: local, to: other}]}}"
PRIORITIES = [
    ("outlierDetection: {}", {"local/a": 0, "local/b": 1, "far/a": 2, "other/a": 2}),
    (f"outlierDetection: {{}}, {FAILOVER}", {"local/a": 0, "local/b": 1, "other/a": 2, "far/a": 3}),
    ("loadBalancer: {}", {"local/a": 0, "local/b": 0, "far/a": 0, "other/a": 0}),
    (FAILOVER, {"local/a": 0, "local/b": 0, "far/a": 0, "other/a": 0}),
    (
        "outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}",
        {"local/a": 0, "local/b": 0, "far/a": 0, "other/a": 0},
    ),
]


def assignment(mesh: Mesh, subset: str = "") -> dict[str, tuple[int, dict[str, str]]]:
    """By zone: its priority, and the health of each replica by its name."""
    names = {pod.ip: pod.name for pod in mesh.pods}
    found = {}
    for zone in endpoints(mesh, client(mesh), SERVICES[0], PORT, subset)["endpoints"]:
        replicas = {}
        for endpoint in zone["lb_endpoints"]:
            address = endpoint["endpoint"]["address"]["socket_address"]
            assert address["port_value"] == PORT.target
            replicas[names[address["address"]]] = endpoint["health_status"]
        assert zone["load_balancing_weight"] == len(replicas)
        found["{region}/{zone}".format(**zone["locality"])] = (zone["priority"], replicas)
    return found


@pytest.mark.parametrize(("text", "expected"), PRIORITIES)
def test_priorities(tmp_path: Path, text: str, expected: dict[str, int]) -> None:
    """With outlier detection the nearest zone is first; without it all zones are alike."""
    found = assignment(a_mesh(tmp_path, rule(f"trafficPolicy: {{{text}}}"), replicas=REPLICAS))
    assert {zone: priority for zone, (priority, _) in found.items()} == expected


def test_no_gap(tmp_path: Path) -> None:
    """Priorities begin at 0, however far the nearest is."""
    mesh = a_mesh(tmp_path, rule("trafficPolicy: {outlierDetection: {}}"), replicas={"far-0": ("stable", "far/a")})
    assert assignment(mesh) == {"far/a": (0, {"far-0": "HEALTHY"})}


def test_readiness(tmp_path: Path) -> None:
    """Who is not ready is told as such; it is left out where it could get calls nevertheless."""
    for health, expected in ((0, {"a": "UNHEALTHY", "b": "HEALTHY"}), (20, {"b": "HEALTHY"})):
        text = rule(f"trafficPolicy: {{outlierDetection: {{minHealthPercent: {health}}}}}")
        replicas = {"a": ("stable", "local/a"), "b": ("stable", "local/a")}
        assert assignment(a_mesh(tmp_path, text, replicas=replicas, ready=["b"])) == {"local/a": (0, expected)}


def test_subset(tmp_path: Path) -> None:
    """A subset has the replicas with its labels; one without labels has all, one that is not there nobody."""
    spec = "subsets: [{name: canary, labels: {version: canary}}, {name: all}]"
    mesh = a_mesh(tmp_path, rule(spec), virtual_service(f"- {TO_RAG}"))
    assert assignment(mesh, "canary") == {"local/a": (0, {"rag-1": "HEALTHY"})}
    assert assignment(mesh, "all") == assignment(mesh, "")
    assert assignment(mesh, "gone") == {}
