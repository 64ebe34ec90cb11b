"""DestinationRules are read as they are written, or refused by line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.problems import Place
from tools.localmesh.rules.destination_rules import DestinationRule
from tools.localmesh.rules.tests.written import RAG, destination_rules, refusal, written
from tools.localmesh.rules.traffic_policies import (
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    Tls,
    TrafficPolicy,
    Warmup,
)

HERE = Place(Path("anywhere"), 1)


def rule(folder: Path, spec: str) -> DestinationRule:
    (found,) = destination_rules(folder, written("DestinationRule", f"host: rag\n{spec}"))
    return found


POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("loadBalancer: {}", {"load_balancer": LoadBalancer(HERE)}),
    ("loadBalancer: {simple: ROUND_ROBIN}", {"load_balancer": LoadBalancer(HERE, simple="ROUND_ROBIN")}),
    (
        "loadBalancer: {localityLbSetting: {enabled: false}}",
        {"load_balancer": LoadBalancer(HERE, locality=False)},
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}",
        {"load_balancer": LoadBalancer(HERE, failover={"a": "b"})},
    ),
    (
        "loadBalancer: {warmup: {duration: 30s, minimumPercent: 5, aggression: 1.5}}",
        {"load_balancer": LoadBalancer(HERE, warmup=Warmup(30.0, 5.0, 1.5))},
    ),
    (
        "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 250ms, maxConnectionDuration: 1h}}",
        {
            "connection_pool": ConnectionPool(
                HERE, max_connections=1, connect_timeout_s=0.25, max_connection_duration_s=3600.0
            )
        },
    ),
    (
        "connectionPool: {http: {http2MaxRequests: 1, http1MaxPendingRequests: 2, maxRequestsPerConnection: 3}}",
        {
            "connection_pool": ConnectionPool(
                HERE, http2_max_requests=1, http1_max_pending_requests=2, max_requests_per_connection=3
            )
        },
    ),
    (
        "connectionPool: {http: {maxRetries: 4, idleTimeout: 5s, maxConcurrentStreams: 6}}",
        {"connection_pool": ConnectionPool(HERE, max_retries=4, idle_timeout_s=5.0, max_concurrent_streams=6)},
    ),
    ("outlierDetection: {}", {"outlier_detection": OutlierDetection(HERE)}),
    (
        "outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 5, interval: 1s, baseEjectionTime: 2s}",
        {"outlier_detection": OutlierDetection(HERE, 0, 5, interval_s=1.0, base_ejection_time_s=2.0)},
    ),
    (
        "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}",
        {
            "outlier_detection": OutlierDetection(
                HERE, consecutive_local_origin_failures=3, split_local_origin_errors=True
            )
        },
    ),
    (
        "outlierDetection: {maxEjectionPercent: 50, minHealthPercent: 20}",
        {"outlier_detection": OutlierDetection(HERE, max_ejection_percent=50, min_health_percent=20)},
    ),
    ("tls: {mode: DISABLE}", {"tls": Tls("DISABLE", HERE)}),
    ("retryBudget: {}", {"retry_budget": RetryBudget(HERE)}),
    (
        "retryBudget: {percent: 12.5, minRetryConcurrency: 2, budgetInterval: 10s}",
        {"retry_budget": RetryBudget(HERE, 12.5, 2, 10.0)},
    ),
    (
        "portLevelSettings: [{port: {number: 50051}, tls: {mode: DISABLE}}]",
        {"ports": {50051: TrafficPolicy(tls=Tls("DISABLE", HERE))}},
    ),
]


@pytest.mark.parametrize(("text", "expected"), POLICIES)
def test_policy(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    """Every part of a trafficPolicy that is supported is read, the host's and a subset's alike."""
    assert rule(tmp_path, f"trafficPolicy: {{{text}}}").policy == TrafficPolicy(**expected)
    subsets = f"subsets: [{{name: s, labels: {{a: b}}, trafficPolicy: {{{text}}}}}]"
    (subset,) = rule(tmp_path, subsets).subsets
    assert (subset.name, subset.labels, subset.policy) == ("s", {"a": "b"}, TrafficPolicy(**expected))


def test_whose(tmp_path: Path) -> None:
    """A host without a dot is of the rule's namespace; exportTo "." makes it private."""
    found = rule(tmp_path, "exportTo: ['.']")
    assert (found.host, found.private, found.policy, found.subsets) == (RAG, True, TrafficPolicy(), ())


WHOLE = """
trafficPolicy:
  tls: {mode: DISABLE}
  connectionPool: {tcp: {maxConnections: 1}, http: {maxRetries: 1}}
  retryBudget: {percent: 10}
  portLevelSettings: [{port: {number: 9}, loadBalancer: {simple: RANDOM}}]
subsets:
  - name: own
    labels: {a: b}
    trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}
  - name: port
    labels: {a: c}
    trafficPolicy:
      tls: {mode: ISTIO_MUTUAL}
      portLevelSettings: [{port: {number: 50051}, connectionPool: {http: {maxRetries: 3}}}]
  - {name: plain}
"""
POOL = ConnectionPool(HERE, max_connections=1, max_retries=1)
BUDGET = RetryBudget(HERE, 10.0)
PLAIN = Tls("DISABLE", HERE)
EFFECTIVE: list[tuple[str, int, TrafficPolicy]] = [
    ("", 50051, TrafficPolicy(connection_pool=POOL, tls=PLAIN, retry_budget=BUDGET)),
    ("plain", 50051, TrafficPolicy(connection_pool=POOL, tls=PLAIN, retry_budget=BUDGET)),
    ("", 9, TrafficPolicy(load_balancer=LoadBalancer(HERE, simple="RANDOM"))),
    (
        "own",
        50051,
        TrafficPolicy(connection_pool=ConnectionPool(HERE, max_connections=2), tls=PLAIN, retry_budget=BUDGET),
    ),
    ("port", 50051, TrafficPolicy(connection_pool=ConnectionPool(HERE, max_retries=3), retry_budget=BUDGET)),
]


@pytest.mark.parametrize(("subset", "port", "expected"), EFFECTIVE)
def test_effective(tmp_path: Path, subset: str, port: int, expected: TrafficPolicy) -> None:
    """A subset's part replaces the host's as a whole; settings of a port replace all parts."""
    assert rule(tmp_path, WHOLE).effective(subset, port) == expected


POLICY_REFUSALS = [
    ("tunnel: {}", "tunnel: is not supported here"),
    ("proxyProtocol: {}", "proxyProtocol: is not supported here"),
    ("loadBalancer: {simple: LEAST_CONN}", "loadBalancer.simple: LEAST_CONN is the old name of LEAST_REQUEST"),
    ("loadBalancer: {simple: PASSTHROUGH}", "loadBalancer.simple: 'PASSTHROUGH' is not supported"),
    ("loadBalancer: {consistentHash: {}}", "loadBalancer.consistentHash: is not supported here"),
    ("loadBalancer: {warmup: {}}", "loadBalancer.warmup: duration is missing"),
    ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "loadBalancer.warmup: has no meaning with RANDOM"),
    ("loadBalancer: {localityLbSetting: {distribute: []}}", "loadBalancer.localityLbSetting.distribute: is not supp"),
    (
        "loadBalancer: {localityLbSetting: {enabled: false, failover: [{from: a, to: b}]}}",
        "loadBalancer.localityLbSetting.failover: has no meaning with enabled: false",
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a/b, to: b}]}}",
        "loadBalancer.localityLbSetting.failover[0].from: 'a/b' is no region",
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}",
        "loadBalancer.localityLbSetting.failover[0]: from and to are the same region",
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}, {from: a, to: c}]}}",
        "loadBalancer.localityLbSetting.failover[1]: there is another from a",
    ),
    ("connectionPool: {}", "connectionPool: needs tcp, http or both"),
    ("connectionPool: {tcp: {maxConnections: 0}}", "connectionPool.tcp.maxConnections: 0 means no bound to Istio"),
    ("connectionPool: {tcp: {tcpKeepalive: {}}}", "connectionPool.tcp.tcpKeepalive: is not supported here"),
    ("connectionPool: {http: {useClientProtocol: true}}", "connectionPool.http.useClientProtocol: is not supported"),
    ("connectionPool: {http: {maxRetries: many}}", "connectionPool.http.maxRetries: must be a whole number"),
    ("outlierDetection: {consecutiveErrors: 1}", "outlierDetection.consecutiveErrors: is not supported here"),
    ("outlierDetection: {interval: 0s}", "outlierDetection.interval: 0s is less than 1ms"),
    ("outlierDetection: {maxEjectionPercent: 101}", "outlierDetection.maxEjectionPercent: 101 is not within 1 to 100"),
    (
        "outlierDetection: {consecutiveLocalOriginFailures: 1}",
        "outlierDetection.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors: true",
    ),
    ("tls: {mode: SIMPLE}", "tls.mode: 'SIMPLE' is not supported"),
    ("tls: {mode: DISABLE, sni: a}", "tls.sni: is not supported here"),
    ("portLevelSettings: [{tls: {mode: DISABLE}}]", "portLevelSettings[0]: port is missing"),
    ("portLevelSettings: [{port: {number: 9}}]", "portLevelSettings[0]: must not be empty"),
    (
        "portLevelSettings: [{port: {number: 9}, tls: {mode: DISABLE}}, {port: {number: 9}, tls: {mode: DISABLE}}]",
        "portLevelSettings[1].port.number: 9 is there twice",
    ),
    ("", "must not be empty; leave it out"),
]


@pytest.mark.parametrize(("text", "expected"), POLICY_REFUSALS)
def test_policy_refused(tmp_path: Path, text: str, expected: str) -> None:
    """What is not supported in a trafficPolicy is refused at its line and field."""
    document = written("DestinationRule", f"host: rag\ntrafficPolicy: {{{text}}}")
    (found,) = refusal(tmp_path, destination_rules, document)
    assert found.startswith(f"6: spec.trafficPolicy{'.' if text else ': '}{expected}"), found


SPEC_REFUSALS = [
    ("host: '*.weft'", "5: spec.host: '*.weft' stands for many hosts"),
    ("subsets: []", "4: spec: host is missing"),
    ("host: rag\nworkloadSelector: {}", "6: spec.workloadSelector: is not supported here"),
    ("host: rag\nexportTo: [other]", "6: spec.exportTo[0]: 'other' is not supported"),
    ("host: rag\nsubsets: [{labels: {a: b}}]", "6: spec.subsets[0]: name is missing"),
    ("host: rag\nsubsets: [{name: A_B}]", "6: spec.subsets[0].name: 'A_B' is no name of a subset"),
    ("host: rag\nsubsets:\n  - {name: a, labels: {x: a}}\n  - {name: a, labels: {x: b}}", "8: spec.subsets[1]: a is"),
    (
        "host: rag\nsubsets:\n  - {name: a, labels: {x: a}}\n  - {name: b, labels: {x: a}}",
        "8: spec.subsets[1]: b has the labels of a",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), SPEC_REFUSALS)
def test_refused(tmp_path: Path, spec: str, expected: str) -> None:
    """What is not supported in a DestinationRule, and subsets that contradict each other, are refused."""
    (found,) = refusal(tmp_path, destination_rules, written("DestinationRule", spec))
    assert found.startswith(expected), found
