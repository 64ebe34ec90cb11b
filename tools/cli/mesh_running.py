"""Whether a stack has a mesh that can be asked."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.stack.mesh import FOLDER
from tools.stack.replicas import EDGE
from tools.stack.snapshot import read_snapshot

WRONG = 2


class NoMeshError(Exception):
    """There is none; the message says what to do."""


def mesh_folder(state: Path) -> Path:
    """Of the stack that runs on `state`. Raises NoMeshError."""
    snapshot = read_snapshot(state)
    if snapshot is None or snapshot.phase not in ("starting", "up"):
        raise NoMeshError(f"no stack is running on {state}: start it with `weft up`")
    if not any(part.name == EDGE for part in snapshot.parts):
        raise NoMeshError(f"the stack on {state} was started without the mesh: leave --no-mesh")
    return state / FOLDER


def refused(why: Exception, code: int = 1) -> int:
    """Says it, and answers the exit code."""
    lines = str(why).splitlines()
    print(f"weft: {lines[0]}" if len(lines) == 1 else "\n  ".join(["weft:", *lines]), file=sys.stderr)
    return code
