"""Faults that are put on calls on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place

MILLION = 1_000_000


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


def read_fault(node: Node) -> Fault:
    """Raises MeshError."""
    raise NotImplementedError
