"""Who asks a model, as far as it matters for when he gets it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """A call's class, least urgent first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """`within_s`: seconds until the call's deadline. `may_fall_back`: another model may stand in for the one asked."""

    tenant: str
    priority: Priority = Priority.NORMAL
    within_s: float = float("inf")
    may_fall_back: bool = False
    call_id: str = ""
