"""Behind `weft restart`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console

from tools.stack.part import StackError
from tools.stack.requests import Restart, ask_for_restart
from tools.stack.snapshot import Snapshot, TaskSnapshot, read_snapshot

POLL_S = 0.1
TAKEN_WITHIN_S = 10.0
INTERRUPTED = 130


def run_restart(state: Path, service: str, *, force: bool) -> int:
    """Answers the exit code."""
    try:
        request = ask_for_restart(state, _parts(state, service), force=force)
        task = _follow(state, request)
    except StackError as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nweft: interrupted; the restart goes on", file=sys.stderr)
        return INTERRUPTED
    if task.error:
        print(f"weft: {task.error}", file=sys.stderr)
        return 1
    print(task.step)
    return 0


def _parts(state: Path, service: str) -> list[str]:
    """The replicas of a Deployment, or the part of that name. Raises StackError where there is none."""
    snapshot = read_snapshot(state)
    if snapshot is None or snapshot.phase != "up":
        starting = snapshot is not None and snapshot.phase == "starting"
        why = "is still starting" if starting else "is not running: start it with `weft up`"
        raise StackError(f"the stack on {state} {why}")
    replicas = [part.name for part in snapshot.parts if part.replica_of == service]
    found = replicas or [part.name for part in snapshot.parts if part.name == service]
    if not found:
        known = dict.fromkeys(part.replica_of or part.name for part in snapshot.parts)
        raise StackError(f"there is no service {service!r} here; there are {', '.join(known)}")
    return found


def _follow(state: Path, request: Restart) -> TaskSnapshot:
    """Shows how it goes, to its end. Raises StackError where the supervisor has gone."""
    deadline = time.monotonic() + TAKEN_WITHIN_S
    console = Console(stderr=True)
    told = ""
    with console.status("asking the supervisor") as line:
        while True:
            snapshot = read_snapshot(state)
            task = _task(snapshot, request)
            if task is not None and task.done:
                return task
            if task is not None and task.step != told:
                told = task.step
                line.update(told)
                if not console.is_terminal:
                    print(told, file=sys.stderr, flush=True)
            if snapshot is None or snapshot.phase != "up":
                raise StackError("the stack was stopped meanwhile")
            if task is None and time.monotonic() > deadline:
                raise StackError(f"the supervisor (pid {snapshot.supervisor_pid}) does not take the request")
            time.sleep(POLL_S)


def _task(snapshot: Snapshot | None, request: Restart) -> TaskSnapshot | None:
    task = snapshot.task if snapshot else None
    return task if task is not None and task.id == request.id else None
