"""Behind `weft mesh explain`."""

from __future__ import annotations

import json
from pathlib import Path

from tools.cli.mesh_running import WRONG, NoMeshError, mesh_folder, refused
from tools.localmesh.explain import ExplainError, explain_call
from tools.localmesh.problems import MeshError


def run_explain(state: Path, method: str, priority: str, *, as_json: bool) -> int:
    """Answers the exit code: 2 for a method or a priority that there is not."""
    try:
        found = explain_call(mesh_folder(state), method, priority)
    except ExplainError as error:
        return refused(error, WRONG)
    except (NoMeshError, MeshError) as error:
        return refused(error)
    print(json.dumps(found.json(), indent=2) if as_json else "\n".join(found.lines()))
    return 0
