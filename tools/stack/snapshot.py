"""What the supervisor tells about the stack: one small file, replaced atomically at every change."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

PartState = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped", "failed"]
Phase = Literal["starting", "up", "stopping", "stopped", "failed"]
FILE = "state.json"


@dataclass(frozen=True)
class PartSnapshot:
    """One part. Times are Unix times in seconds; `since` is when it came into this state. `health` and `replica_of` are
    as in `Part`."""

    name: str
    address: str
    state: PartState = "waiting"
    pid: int | None = None
    since: float = 0.0
    restarts: int = 0
    last_exit: str = ""
    health: tuple[str, ...] = ()
    replica_of: str = ""


@dataclass(frozen=True)
class TaskSnapshot:
    """What the supervisor was asked to do (`tools.stack.requests`), and how far it is. `error` says why it ended
    otherwise than asked."""

    id: str
    step: str = ""
    done: bool = False
    error: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The stack as its supervisor sees it. `supervisor_start` tells a process from a later one with the same id.

    `entry` is where users dial; `certificate` (a PEM file, or "") what they know it by.
    """

    supervisor_pid: int
    supervisor_start: int
    declaration: str
    phase: Phase = "starting"
    error: str = ""
    parts: tuple[PartSnapshot, ...] = ()
    entry: str = ""
    certificate: str = ""
    task: TaskSnapshot | None = None

    @property
    def ready(self) -> bool:
        """Whether all parts are."""
        return self.phase == "up" and all(part.state == "ready" for part in self.parts)

    def with_part(self, name: str, **changes: object) -> "Snapshot":
        parts = (replace(part, **changes) if part.name == name else part for part in self.parts)  # type: ignore[arg-type]
        return replace(self, parts=tuple(parts))


def write_snapshot(state: Path, snapshot: Snapshot) -> None:
    """Replaces the file, so that a reader sees the old content or the new one, never half of it."""
    partial = state / f"{FILE}.partial"
    partial.write_text(json.dumps(asdict(snapshot)))
    partial.replace(state / FILE)


def read_snapshot(state: Path) -> Snapshot | None:
    """The stack as it is: a snapshot whose supervisor is gone says that everything is stopped. None: nothing known."""
    try:
        content = json.loads((state / FILE).read_text())
        parts = tuple(PartSnapshot(**{**part, "health": tuple(part["health"])}) for part in content.pop("parts"))
        task = content.pop("task")
        snapshot = Snapshot(**content, task=task and TaskSnapshot(**task), parts=parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if process_start(snapshot.supervisor_pid) == snapshot.supervisor_start:
        return snapshot
    ended = (part if part.state == "failed" else replace(part, state="stopped", pid=None) for part in snapshot.parts)
    phase: Phase = "failed" if snapshot.phase == "failed" else "stopped"
    return replace(snapshot, phase=phase, parts=tuple(ended))


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is no such process, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
