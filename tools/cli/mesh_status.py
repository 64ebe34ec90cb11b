"""Behind `weft mesh status`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.cli.mesh_faults import WRITTEN, told
from tools.cli.mesh_running import NoMeshError, mesh_folder, refused
from tools.cli.stack_status import show_rules
from tools.cli.tables import print_table
from tools.localmesh.certificates import end_of, read_pair
from tools.localmesh.drills import drills, written_are_on
from tools.localmesh.left_open import left_open
from tools.localmesh.pods import PODS, Pod, read_pods
from tools.localmesh.problems import MeshError
from tools.localmesh.told import Status, read_status
from tools.localmesh.workloads import Registry, read_registry
from tools.stack.mesh import MeshState

COLUMNS = ("POD", "READY", "ADDRESS", "PROCESS", "ZONE", "IDENTITY", "CERTIFICATE UNTIL")


@dataclass(frozen=True)
class PodRow:
    """A pod. `certificate_until` is RFC 3339, or "" where there is none. The edge, which is no process, is ready."""

    name: str
    ready: bool
    address: str
    process: str
    zone: str
    identity: str
    certificate_until: str


def run_status(state: Path, *, as_json: bool) -> int:
    """Answers the exit code: 0 where the rules are in force and all pods are ready."""
    try:
        folder = mesh_folder(state)
        status = read_status(folder)
        if status is None:
            raise NoMeshError("the mesh has told nothing yet: see `weft logs mesh`")
        registry = read_registry(Path(status.base_folder))
        rows = [_row(folder, status, pod) for pod in read_pods(folder / PODS, registry)]
        notes = _notes(status, registry)
        on = [told(host, fault) for host, fault in drills(folder).items()]
        on += [WRITTEN] if written_are_on(folder) else []
    except (NoMeshError, MeshError, OSError) as error:
        return refused(error)
    in_force = not status.problems
    if as_json:
        rules = {"in_force": in_force, "folder": status.rules_folder, "since": _time(status.since)}
        problems = [asdict(problem) for problem in status.problems]
        pods = [asdict(row) for row in rows]
        rules |= {"problems": problems, "notes": notes}
        print(json.dumps({"rules": rules, "drills": on, "pods": pods}, indent=2))
    else:
        _show(status, rows, [*notes, *on])
    return 0 if in_force and all(row.ready for row in rows) else 1


def _notes(status: Status, registry: Registry) -> list[str]:
    """On the files; of those that were refused the problems are told."""
    try:
        return list(left_open(Path(status.rules_folder), registry)) if not status.problems else []
    except MeshError:  # they have just been spoilt
        return []


def _show(status: Status, rows: list[PodRow], lines: list[str]) -> None:
    problems = tuple(problem.message for problem in status.problems)
    show_rules(MeshState(status.rules_folder, status.since, problems))
    for line in lines:
        print(line)
    print_table(COLUMNS, [[_cell(value) for value in asdict(row).values()] for row in rows])


def _row(folder: Path, status: Status, pod: Pod) -> PodRow:
    pair = read_pair(folder / "certificates" / f"{pod.workload.service_account}.pem")
    return PodRow(
        pod.name,
        not pod.app or pod.name in status.ready,
        pod.ip,
        pod.app,
        pod.zone,
        pod.workload.identity,
        _time(end_of(pair.certificate)) if pair else "",
    )


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
