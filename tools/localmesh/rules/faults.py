"""Faults that are put on calls on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.durations import read_duration_s

MILLION = 1_000_000
GRPC_STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""By their numbers."""


@dataclass(frozen=True)
class Delay:
    """`share` of the calls, in millionths, begin `fixed_s` seconds late."""

    share: int
    fixed_s: float


@dataclass(frozen=True)
class Abort:
    """`share` of the calls, in millionths, end at once: with a status of HTTP or one of gRPC (its number)."""

    share: int
    http_status: int | None = None
    grpc_status: int | None = None


@dataclass(frozen=True)
class Fault:
    """A call may have both. `place` is None for a drill."""

    delay: Delay | None = None
    abort: Abort | None = None
    place: Place | None = field(default=None, compare=False)


def shown_fault(fault: Fault) -> str:
    """What happens to how many of the calls, for a person."""
    said = []
    if fault.delay:
        said.append(f"{_percent(fault.delay.share)} begin {fault.delay.fixed_s:g} s late")
    if fault.abort and fault.abort.grpc_status is not None:
        said.append(f"{_percent(fault.abort.share)} end with {GRPC_STATUSES[fault.abort.grpc_status]}")
    elif fault.abort:
        said.append(f"{_percent(fault.abort.share)} end with HTTP {fault.abort.http_status}")
    return ", and ".join(said)


def _percent(share: int) -> str:
    return f"{share * 100 / MILLION:g}%"


def share_of(percent: float) -> int:
    """Millionths, cut off as Istio does."""
    return int(percent * (MILLION // 100))


def read_fault(node: Node) -> Fault:
    """Raises MeshError."""
    fields = node.fields("delay", "abort")
    if not fields:
        raise node.problem("needs a delay, an abort or both")
    delay = _delay(fields["delay"]) if "delay" in fields else None
    abort = _abort(fields["abort"]) if "abort" in fields else None
    return Fault(delay, abort, node.place)


def _delay(node: Node) -> Delay:
    fields = node.fields("percentage", required=("fixedDelay",))
    return Delay(_share(node), read_duration_s(fields["fixedDelay"]))


def _abort(node: Node) -> Abort:
    fields = node.fields("percentage", "httpStatus", "grpcStatus")
    if ("httpStatus" in fields) == ("grpcStatus" in fields):
        raise node.problem("needs one of httpStatus and grpcStatus")
    if "httpStatus" in fields:
        return Abort(_share(node), http_status=fields["httpStatus"].integer(200, 599))
    return Abort(_share(node), grpc_status=GRPC_STATUSES.index(fields["grpcStatus"].choice(*GRPC_STATUSES)))


def _share(node: Node) -> int:
    """Without a percentage Istio takes 0, which nobody means."""
    fields = node.entries()
    if "percentage" not in fields:
        raise node.problem("percentage is missing, and without it no call is hit; add percentage: {value: 0.1}")
    value = fields["percentage"].fields(required=("value",))["value"]
    share = share_of(value.number(0, 100))
    if share == 0 and value.number(0, 100) > 0:
        raise value.problem("is less than 0.0001, the least that hits a call")
    return share
