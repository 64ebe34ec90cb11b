"""Behind `weft mesh faults`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.cli.mesh_running import WRONG, NoMeshError, mesh_folder, refused
from tools.localmesh.drills import (
    FILE,
    DrillError,
    apply_written,
    clear_drills,
    drill_host,
    drills,
    fault_of,
    set_drill,
    written_are_on,
)
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.faults import Fault, shown_fault
from tools.localmesh.told import read_status
from tools.localmesh.workloads import read_registry

ALL = 100.0
NONE = "No drill is on."
LONGEST_S = 5.0
LOOK_EVERY_S = 0.05
WRITTEN = "The faults of mesh/faults are on."
_DURATION = re.compile(r"(?P<count>[0-9]{1,6}(\.[0-9]{1,3})?)(?P<unit>ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Wanted:
    """The options, as they were given."""

    to: str | None = None
    delay: str | None = None
    abort: str | None = None
    percent: float | None = None


def run_faults(state: Path, wanted: Wanted) -> int:
    """Answers the exit code: 2 for what is no drill, as all of these do."""
    try:
        folder = mesh_folder(state)
        if wanted.to is None:
            raise DrillError("whose calls? --to names the service")
        delay_s = None if wanted.delay is None else _seconds(wanted.delay)
        percent = ALL if wanted.percent is None else wanted.percent
        fault = fault_of(delay_s=delay_s, abort=wanted.abort, percent=percent)
        host = drill_host(read_registry(), wanted.to)
        problems = _put(folder, lambda: set_drill(folder, host, fault))
    except DrillError as error:
        return refused(error, WRONG)
    except (NoMeshError, MeshError) as error:
        return refused(error)
    return _said(f"{told(host, fault)}\n`weft mesh faults off` ends it.", problems)


def run_on(state: Path) -> int:
    try:
        folder = mesh_folder(state)
        problems = _put(folder, lambda: apply_written(folder))
    except NoMeshError as error:
        return refused(error)
    return _said(f"{WRITTEN}\n`weft mesh faults off` ends it.", problems)


def run_off(state: Path) -> int:
    try:
        folder = mesh_folder(state)
        problems = _put(folder, lambda: clear_drills(folder))
    except NoMeshError as error:
        return refused(error)
    return _said(NONE, problems)


def run_show(state: Path) -> int:
    try:
        folder = mesh_folder(state)
        lines = [told(host, fault) for host, fault in drills(folder).items()]
    except (NoMeshError, MeshError) as error:
        return refused(error)
    lines += [WRITTEN] if written_are_on(folder) else []
    print("\n".join(lines) or NONE)
    return 0


def _put(folder: Path, change: Callable[[], None]) -> tuple[str, ...]:
    """Makes the change, and waits until the controller has told what became of it; why it is not in force, if so."""
    before, began = _kept(folder), time.time()
    change()
    if _kept(folder) == before:
        return ()
    while (status := read_status(folder)) is not None and time.time() < began + LONGEST_S:
        if status.since >= began:
            return tuple(problem.message for problem in status.problems)
        time.sleep(LOOK_EVERY_S)
    return () if status is None else ("the mesh has told nothing of it yet: see `weft mesh status`",)


def _kept(folder: Path) -> tuple[str, bool]:
    """What is asked for."""
    path = folder / FILE
    return path.read_text() if path.exists() else "{}\n", written_are_on(folder)


def _said(what: str, problems: tuple[str, ...]) -> int:
    if problems:
        print("\n  ".join(["weft: that is not in force:", *problems]), file=sys.stderr)
        return 1
    print(what)
    return 0


def told(host: str, fault: Fault) -> str:
    """What happens to whose calls, in a line."""
    return f"Of calls to {host} {shown_fault(fault)}."


def _seconds(delay: str) -> float:
    match = _DURATION.fullmatch(delay)
    if match is None:
        raise DrillError(f"--delay {delay!r} is not a duration: write 250ms, 1s or 2m")
    return float(match["count"]) * _SECONDS[match["unit"]]
