"""A real Envoy takes the routes and clusters, and does what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
import pytest

from tools.localmesh.envoy.tests.traffic import PLAIN, a_mesh, refusal_of_envoy, running, static, to
from tools.localmesh.rules.faults import MILLION, Abort, Fault
from tools.localmesh.rules.tests.written import RAG, TO_RAG, virtual_service, written

EVERYTHING = f"""
- name: matches
  match:
    - {{uri: {{exact: /a}}, headers: {{x-a: {{exact: b}}, x-b: {{prefix: c}}, x-c: {{regex: "d+"}}, x-d: {{}}}}}}
    - {{uri: {{prefix: /b}}, ignoreUriCase: true, withoutHeaders: {{x-a: {{exact: b}}, x-b: {{}}}}}}
    - {{uri: {{regex: "/c/[a-z]{{1,1000}}(?:/|\\\\.)(?P<rest>.*)"}}, method: {{exact: POST}}, scheme: {{exact: http}}}}
    - {{authority: {{prefix: rag}}, queryParams: {{a: {{exact: b}}, c: {{}}, d: {{regex: "e|f"}}}}}}
  retries: {{attempts: 2, retryOn: "503,unavailable,reset-before-request", perTryTimeout: 250ms, backoff: 50ms}}
  timeout: 1500ms
  {to("stable")}
- match: [{{uri: {{exact: /codes}}}}]
  retries: {{attempts: 1, retryOn: "429", retryIgnorePreviousHosts: false, retryRemoteLocalities: true}}
  headers: {{request: {{set: {{a: b}}, add: {{c: d}}, remove: [e]}}, response: {{set: {{f: g}}, remove: [h]}}}}
  route:
    - {{destination: {{host: {RAG}, subset: stable}}, weight: 70, headers: {{request: {{set: {{i: j}}}}}}}}
    - {{destination: {{host: {RAG}, subset: canary}}, weight: 30}}
    - {{destination: {{host: {RAG}}}, weight: 0}}
- match: [{{uri: {{exact: /fault}}}}]
  fault:
    delay: {{percentage: {{value: 0.1}}, fixedDelay: 1s}}
    abort: {{percentage: {{value: 0.01}}, grpcStatus: UNAVAILABLE}}
  corsPolicy: {{allowOrigins: [{{exact: a}}, {{prefix: b}}, {{regex: "c.*"}}], allowMethods: [GET], allowHeaders: [a],
    exposeHeaders: [b], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}}
  {TO_RAG}
- match: [{{uri: {{prefix: /old}}}}]
  rewrite: {{uri: /new, authority: elsewhere}}
  fault: {{abort: {{percentage: {{value: 1}}, httpStatus: 503}}}}
  {TO_RAG}
- match: [{{uri: {{exact: /direct}}}}]
  directResponse: {{status: 503, body: {{string: closed}}}}
- route: [{{destination: {{host: other, port: {{number: 8080}}}}}}]
"""
POLICY = """
host: rag
trafficPolicy:
  loadBalancer:
    simple: ROUND_ROBIN
    localityLbSetting: {failover: [{from: local, to: far}]}
    warmup: {duration: 30s, aggression: 1.5}
  connectionPool:
    tcp: {maxConnections: 5, connectTimeout: 250ms, maxConnectionDuration: 60s}
    http: {http2MaxRequests: 6, http1MaxPendingRequests: 7, maxRetries: 8, maxRequestsPerConnection: 9, idleTimeout: 9s,
      maxConcurrentStreams: 10}
  outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 0, interval: 2s, baseEjectionTime: 3s,
    maxEjectionPercent: 20, minHealthPercent: 30, splitExternalLocalOriginErrors: true,
    consecutiveLocalOriginFailures: 4}
  tls: {mode: DISABLE}
  retryBudget: {percent: 33.5, budgetInterval: 5s, minRetryConcurrency: 2}
subsets:
  - {name: stable, labels: {version: stable}, trafficPolicy: {loadBalancer: {warmup: {duration: 1s}}}}
  - {name: canary, labels: {version: canary}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""
NOTHING_ELSE = written("DestinationRule", "host: other\ntrafficPolicy: {tls: {mode: DISABLE}}", name="other")


def test_taken(tmp_path: Path) -> None:
    """Envoy takes every field that is supported, in its static form."""
    texts = (virtual_service(EVERYTHING), written("DestinationRule", POLICY), NOTHING_ELSE)
    assert refusal_of_envoy(tmp_path, static(a_mesh(tmp_path, *texts), 1)) == ""


def test_refused(tmp_path: Path) -> None:
    """What Envoy does not take, the test above would notice."""
    made = static(a_mesh(tmp_path, PLAIN), 1)
    made["static_resources"]["clusters"][0]["connect_timeout"] = "-1s"
    assert "Expected positive duration" in refusal_of_envoy(tmp_path, made)


@pytest.mark.asyncio
async def test_matches_in_order(tmp_path: Path) -> None:
    """The first route that matches is the way; where none does, nobody answers."""
    rules = virtual_service(
        f"- match: [{{headers: {{priority: {{exact: high}}}}}}]\n  {to('canary')}\n"
        f"- match: [{{uri: {{regex: '/a[.]B/[XY]'}}, withoutHeaders: {{x-a: {{exact: v}}}}}}]\n  {to('stable')}\n"
        f"- match: [{{uri: {{prefix: /A.b/}}, ignoreUriCase: true, headers: {{x-a: {{}}}}}}]\n  {to('canary')}"
    )
    async with running(tmp_path, rules) as mesh:
        assert await mesh.call("/a.B/X", priority="high") == "rag-1"
        assert await mesh.call("/a.B/X", priority="low") == "rag-0"
        assert await mesh.call("/a.B/X", x_a="v") == "rag-1"
        assert await mesh.call("/a.B/C", x_a="anything") == "rag-1"
        assert await mesh.failure("/a.B/C") == (grpc.StatusCode.UNIMPLEMENTED, "")


@pytest.mark.asyncio
async def test_weights(tmp_path: Path) -> None:
    """Shares are as they are written, and a share of nothing gets nothing."""
    rules = virtual_service(
        f"- route:\n    - {{destination: {{host: {RAG}, subset: stable}}, weight: 70}}\n"
        f"    - {{destination: {{host: {RAG}, subset: canary}}, weight: 30}}\n"
        f"    - {{destination: {{host: {RAG}}}, weight: 0}}"
    )
    calls = 400
    async with running(tmp_path, rules) as mesh:
        counts = Counter([await mesh.call() for _ in range(calls)])
    # Five standard deviations of a binomial distribution.
    assert abs(counts["rag-1"] - 0.3 * calls) < 5 * (calls * 0.3 * 0.7) ** 0.5
    assert counts["rag-0"] + counts["rag-1"] == calls


@pytest.mark.asyncio
async def test_faults(tmp_path: Path) -> None:
    """A fault hits its route, and its share of the calls; the rest goes through."""
    rules = virtual_service(
        "- match: [{uri: {exact: /a.B/All}}]\n  fault: {abort: {percentage: {value: 100}, grpcStatus: NOT_FOUND}}\n"
        f"  {TO_RAG}\n"
        "- match: [{uri: {exact: /a.B/Http}}]\n  fault: {abort: {percentage: {value: 100}, httpStatus: 429}}\n"
        f"  {TO_RAG}\n"
        "- match: [{uri: {exact: /a.B/Half}}]\n  fault: {abort: {percentage: {value: 50}, grpcStatus: ABORTED}}\n"
        f"  {TO_RAG}\n"
        "- match: [{uri: {exact: /a.B/Late}}]\n  timeout: 100ms\n"
        f"  fault: {{delay: {{percentage: {{value: 100}}, fixedDelay: 300ms}}}}\n  {TO_RAG}\n- {TO_RAG}"
    )
    calls = 200
    async with running(tmp_path, rules) as mesh:
        assert await mesh.failure("/a.B/All") == (grpc.StatusCode.NOT_FOUND, "fault filter abort")
        assert (await mesh.failure("/a.B/Http"))[0] == grpc.StatusCode.UNAVAILABLE
        assert mesh.seen() == []
        # A delay goes before the timeout begins.
        assert await mesh.call("/a.B/Late") in mesh.replicas
        failed = 0
        for _ in range(calls):
            try:
                await mesh.call("/a.B/Half")
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.ABORTED
                failed += 1
        assert abs(failed - calls / 2) < 5 * (calls * 0.25) ** 0.5
        assert await mesh.call() in mesh.replicas


@pytest.mark.asyncio
async def test_drill(tmp_path: Path) -> None:
    """A drill hits every route to the host, and goes before the route's own fault."""
    rules = virtual_service(
        "- match: [{uri: {exact: /a.B/C}}]\n  fault: {abort: {percentage: {value: 100}, grpcStatus: NOT_FOUND}}\n"
        f"  {TO_RAG}\n- {TO_RAG}"
    )
    drill = Fault(abort=Abort(MILLION, grpc_status=15))
    async with running(tmp_path, rules, drills={RAG: drill}) as mesh:
        assert (await mesh.failure("/a.B/C"))[0] == grpc.StatusCode.DATA_LOSS
        assert (await mesh.failure("/a.B/D"))[0] == grpc.StatusCode.DATA_LOSS


@pytest.mark.asyncio
async def test_drill_without_rules(tmp_path: Path) -> None:
    """A drill hits a host without a VirtualService too."""
    async with running(tmp_path, drills={RAG: Fault(abort=Abort(MILLION, grpc_status=15))}) as mesh:
        assert (await mesh.failure())[0] == grpc.StatusCode.DATA_LOSS


@pytest.mark.asyncio
async def test_retries(tmp_path: Path) -> None:
    """Istio's default tries again, at another replica; attempts: 0 does not; a word says what for."""
    rules = virtual_service(
        f"- match: [{{uri: {{exact: /a.B/Never}}}}]\n  retries: {{attempts: 0}}\n  {TO_RAG}\n"
        f"- match: [{{uri: {{exact: /a.B/Other}}}}]\n  retries: {{attempts: 2, retryOn: refused-stream}}\n  {TO_RAG}\n"
        f"- {TO_RAG}"
    )
    async with running(tmp_path, rules) as mesh:
        for path, tries in (("/a.B/Default", 2), ("/a.B/Never", 1), ("/a.B/Other", 1)):
            for replica in mesh.replicas.values():
                replica.seen.clear()
                replica.fails = 0
            mesh.replicas["rag-0"].fails = 99
            # Until the one that fails is tried first.
            while not mesh.replicas["rag-0"].seen:
                try:
                    answer = await mesh.call(path)
                except grpc.aio.AioRpcError as error:
                    answer = error.code().name
            assert answer == ("rag-1" if tries == 2 else "UNAVAILABLE")
            assert len(mesh.replicas["rag-0"].seen) == 1


@pytest.mark.asyncio
async def test_changes(tmp_path: Path) -> None:
    """Headers, the path, and a caller's deadline that is longer than the timeout are changed as written."""
    rules = virtual_service(
        "- match: [{uri: {prefix: /old.B/}}]\n  rewrite: {uri: /a.B/}\n  timeout: 5s\n"
        "  headers: {request: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}}\n"
        f"  {TO_RAG}\n- match: [{{uri: {{exact: /a.B/Closed}}}}]\n  directResponse: {{status: 404}}\n- {TO_RAG}"
    )
    async with running(tmp_path, rules) as mesh:
        await mesh.call("/old.B/C", timeout_s=100.0, x_set="old", x_add="some", x_gone="yes")
        await mesh.call("/a.B/C", timeout_s=100.0)
        assert (await mesh.failure("/a.B/Closed"))[0] == grpc.StatusCode.UNIMPLEMENTED
    (changed, plain) = sorted(mesh.seen(), key=lambda call: "x-set" not in call[1])
    path, metadata = changed
    assert (path, metadata["x-set"], "x-gone" in metadata) == ("/a.B/C", "new", False)
    assert float(metadata["remaining"]) <= 5.0
    assert float(plain[1]["remaining"]) > 5.0


@pytest.mark.asyncio
async def test_nearest_first(tmp_path: Path) -> None:
    """With outlier detection the client's own zone gets all calls; who is not ready gets none."""
    near = written(
        "DestinationRule",
        "host: rag\ntrafficPolicy: {tls: {mode: DISABLE}, outlierDetection: {maxEjectionPercent: 100}}",
    )
    replicas = {"near": ("stable", "local/a"), "beside": ("stable", "local/b"), "far": ("stable", "far/a")}
    for ready, expected in (({"near", "beside", "far"}, "near"), ({"beside", "far"}, "beside"), ({"far"}, "far")):
        folder = tmp_path / expected
        folder.mkdir()
        async with running(folder, near, replicas=replicas, ready=ready) as mesh:
            assert {await mesh.call() for _ in range(20)} == {expected}
