"""Behind `weft mesh faults`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.cli.mesh_running import WRONG, NoMeshError, mesh_folder, refused
from tools.localmesh.drills import (
    DrillError,
    apply_written,
    clear_drills,
    drill_host,
    drills,
    fault_of,
    set_drill,
    written_are_on,
)
from tools.localmesh.rules.faults import GRPC_STATUSES, MILLION, Fault
from tools.localmesh.workloads import read_registry

ALL = 100.0
NONE = "No drill is on."
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
        set_drill(folder, host, fault)
    except DrillError as error:
        return refused(error, WRONG)
    except NoMeshError as error:
        return refused(error)
    print(f"{told(host, fault)}\n`weft mesh faults off` ends it.")
    return 0


def run_on(state: Path) -> int:
    try:
        apply_written(mesh_folder(state))
    except NoMeshError as error:
        return refused(error)
    print(f"{WRITTEN}\n`weft mesh faults off` ends it.")
    return 0


def run_off(state: Path) -> int:
    try:
        clear_drills(mesh_folder(state))
    except NoMeshError as error:
        return refused(error)
    print(NONE)
    return 0


def run_show(state: Path) -> int:
    try:
        folder = mesh_folder(state)
        lines = [told(host, fault) for host, fault in drills(folder).items()]
    except (NoMeshError, DrillError) as error:
        return refused(error)
    lines += [WRITTEN] if written_are_on(folder) else []
    print("\n".join(lines) or NONE)
    return 0


def told(host: str, fault: Fault) -> str:
    """What happens to whose calls, in a line."""
    what = []
    if fault.delay:
        what.append(f"{_percent(fault.delay.share)} begin {fault.delay.fixed_s:g} s late")
    if fault.abort and fault.abort.grpc_status is not None:
        what.append(f"{_percent(fault.abort.share)} end with {GRPC_STATUSES[fault.abort.grpc_status]}")
    elif fault.abort:
        what.append(f"{_percent(fault.abort.share)} end with HTTP {fault.abort.http_status}")
    return f"Of calls to {host} {', and '.join(what)}."


def _percent(share: int) -> str:
    return f"{share * 100 / MILLION:g}%"


def _seconds(delay: str) -> float:
    match = _DURATION.fullmatch(delay)
    if match is None:
        raise DrillError(f"--delay {delay!r} is not a duration: write 250ms, 1s or 2m")
    return float(match["count"]) * _SECONDS[match["unit"]]
