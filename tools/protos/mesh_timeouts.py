"""How long the mesh lets calls take, and how often it tries, written from the methods' policies (VirtualServices)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from libs.contracts.policies import Method, methods

FILE = Path(__file__).resolve().parents[2] / "mesh" / "timeouts.yaml"

DOMAIN = "weft.svc.cluster.local"
SLACK_S = 1
"""The mesh's timeout is later than any deadline: Envoy's own would arrive as UNAVAILABLE."""

NOT_BEGUN = "connect-failure,refused-stream"
"""What Envoy calls the ends of calls that no service has seen."""

NOT_BEGUN_RETRIES = 2

_HEAD = """\
# Written from the contracts in proto/ by `python -m tools.protos`; a test fails when it is stale. Where calls go is
# routing.yaml's.
#
# A timeout is the longest deadline of its methods and a second, so that it is the call's own deadline that ends it.
# Streams have none. A call that no service has seen is tried again where its method is idempotent. One that a service
# has seen is tried again where the contract has retries, and nothing that is charged: another try would be work that
# nothing was reserved for. (A client's own retry is a new call, with a reservation of its own; so the edge leaves those
# to the client.)
"""


@dataclass(frozen=True, order=True)
class _Terms:
    """What methods share an entry by. `timeout_s` 0: a stream."""

    timeout_s: float
    attempts: int
    retry_on: str


def mesh_timeouts(_proto: Path) -> str:
    """The file: a VirtualService for each service behind the gateway, and one for the edge."""
    served = [method for method in methods().values() if not method.refusal]
    components = sorted({method.served_by for method in served} - {"gateway"})
    found = [_virtual_service("edge", served)]
    found += [_virtual_service(name, [m for m in served if m.served_by == name]) for name in components]
    return _HEAD + "---\n".join(found)


def _virtual_service(name: str, served: Iterable[Method]) -> str:
    at_the_edge = name == "edge"
    hosts = '["*"]\n  gateways: [edge]' if at_the_edge else f"[{name}.{DOMAIN}]"
    lines = [
        "apiVersion: networking.istio.io/v1",
        "kind: VirtualService",
        f"metadata: {{name: {name}, namespace: weft}}",
        "spec:",
        f"  hosts: {hosts}",
        "  http:",
    ]

    def terms(method: Method) -> _Terms:
        return _terms(method, at_the_edge)

    for shared, group in groupby(sorted(served, key=lambda method: (terms(method), method.path)), key=terms):
        lines += _entry(shared, [method.path for method in group], name)
    lines += _rest(name)
    return "\n".join(lines) + "\n"


def _terms(method: Method, at_the_edge: bool) -> _Terms:
    timeout_s = method.max_timeout_s + SLACK_S if method.unary else 0
    if not method.idempotent:
        return _Terms(timeout_s, 0, "")
    retry = method.retry
    if retry is None or method.cost is not None or not method.unary or at_the_edge:
        return _Terms(timeout_s, NOT_BEGUN_RETRIES, NOT_BEGUN)
    codes = [code.lower().replace("_", "-") for code in retry.codes if code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE")]
    return _Terms(timeout_s, retry.max_attempts - 1, ",".join([NOT_BEGUN, *sorted(codes)]))


def _entry(terms: _Terms, paths: list[str], name: str) -> list[str]:
    lines = [f"    - name: {_entry_name(terms)}", "      match:"]
    lines += [f"        - uri: {{exact: {path}}}" for path in paths]
    if terms.timeout_s:
        lines.append(f"      timeout: {terms.timeout_s:g}s")
    return [*lines, f"      retries: {_retries(terms)}", f"      delegate: {{name: {name}-routing, namespace: weft}}"]


def _entry_name(terms: _Terms) -> str:
    kind = f"within-{terms.timeout_s:g}s" if terms.timeout_s else "streams"
    return f"{kind}-{'once' if not terms.attempts else 'if-not-begun' if terms.retry_on == NOT_BEGUN else 'again'}"


def _retries(terms: _Terms) -> str:
    return f'{{attempts: {terms.attempts}, retryOn: "{terms.retry_on}"}}' if terms.attempts else "{attempts: 0}"


def _rest(name: str) -> list[str]:
    """Health and reflection, which may be watched for as long as somebody wants to; and what no contract has."""
    return [
        "    - name: rest",
        "      retries: {attempts: 0}",
        f"      delegate: {{name: {name}-routing, namespace: weft}}",
    ]
