"""Faults for a drill: files of the stack's state, which the controller follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from libs.config.files import write_whole
from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.rules.faults import GRPC_STATUSES, MILLION, Abort, Delay, Fault
from tools.localmesh.workloads import Registry, Service

FILE = "drills.json"
WRITTEN = "faults.on"
"""An empty file: the component `faults` of the rules is applied while it is there."""

LEAST_DELAY_S, MOST_DELAY_S = 0.001, 600

_PARTS: Mapping[str, Any] = {"delay": Delay, "abort": Abort}
_STATUSES = ("http_status", "grpc_status")
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "share": (1, MILLION),
    "fixed_s": (LEAST_DELAY_S, MOST_DELAY_S),
    "http_status": (400, 599),
    "grpc_status": (1, len(GRPC_STATUSES) - 1),
}


class DrillError(Exception):
    """What was asked for is no drill; the message says what would be one."""


def fault_of(*, delay_s: float | None = None, abort: str | None = None, percent: float) -> Fault:
    """A fault for so many of 100 calls: they begin `delay_s` seconds late, end at once with what `abort` says (a gRPC
    status by its name, "UNAVAILABLE", or one of HTTP, "503"), or both. Raises DrillError."""
    if delay_s is None and abort is None:
        raise DrillError("a drill needs a delay (--delay 1s), an abort (--abort UNAVAILABLE), or both")
    if not 0.0001 <= percent <= 100:
        raise DrillError(f"{percent:g} percent of the calls is not within 0.0001 to 100")
    if delay_s is not None and not LEAST_DELAY_S <= delay_s <= MOST_DELAY_S:
        raise DrillError(f"a delay of {delay_s:g} s is not within {LEAST_DELAY_S:g} to {MOST_DELAY_S:g}")
    share = round(percent * MILLION / 100)
    return Fault(
        delay=None if delay_s is None else Delay(share, delay_s),
        abort=None if abort is None else _abort(share, abort),
    )


def drill_host(registry: Registry, name: str) -> str:
    """The full host name of a Service in the mesh, by its name or its host. Raises DrillError."""
    # The edge has no such port: to it there are no calls in the mesh.
    called = [service for service in registry.services if registry.is_in_mesh(service) and _speaks_grpc(service)]
    for service in called:
        if name in (service.name, service.host):
            return service.host
    known = sorted(service.name for service in called)
    near = get_close_matches(name, known, n=1)
    hint = f"; do you mean {near[0]}?" if near else "."
    raise DrillError(f"no calls in the mesh go to {name!r}{hint} They go to {', '.join(known)}")


def drills(state: Path) -> dict[str, Fault]:
    """Those that are on, by the host they are on. Raises MeshError where the file cannot be read as such, and for what
    `fault_of` would not have made."""
    path = state / FILE
    try:
        entries = json.loads(path.read_text())
        return {host: _fault(path, host, entry) for host, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = f"is not a file of drills ({error}): delete it, and begin the drills anew"
        raise MeshError([Problem(Place(path, 1), "", text)]) from None


def set_drill(state: Path, host: str, fault: Fault) -> None:
    """Puts a fault on all calls to a host, in place of one that is on it; the controller follows within a second.
    Raises as `drills` does."""
    _write(state, {**drills(state), host: fault})


def apply_written(state: Path) -> None:
    """Adds the faults that are written in the rules' component; the controller follows within a second."""
    write_whole(state / WRITTEN, "")


def written_are_on(state: Path) -> bool:
    """Whether they are added."""
    return (state / WRITTEN).exists()


def clear_drills(state: Path) -> None:
    """Ends all drills, and takes the written faults away."""
    _write(state, {})
    (state / WRITTEN).unlink(missing_ok=True)


def _write(state: Path, faults: Mapping[str, Fault]) -> None:
    entries = {
        host: {name: asdict(part) for name, part in (("delay", fault.delay), ("abort", fault.abort)) if part}
        for host, fault in faults.items()
    }
    write_whole(state / FILE, json.dumps(entries, indent=1) + "\n")


def _fault(path: Path, host: str, entry: Mapping[str, Mapping[str, Any]]) -> Fault:
    """As `_write` writes it, or somebody by hand: then MeshError for what `fault_of` would not make."""

    def problem(field: str, text: str) -> MeshError:
        remedy = "mend it, or end all drills (`weft mesh faults off`)"
        return MeshError([Problem(Place(path, 1), field, f"{text}; {remedy}")])

    for part, values in entry.items():
        for name, value in values.items():
            least, most = _BOUNDS[name]
            if value is None and name in _STATUSES:
                continue
            if isinstance(value, bool) or not least <= value <= most or (name != "fixed_s" and value != int(value)):
                kind = "seconds" if name == "fixed_s" else "a whole number"
                raise problem(f"{host}.{part}.{name}", f"{value} is not within {least} to {most} ({kind})")
    fault = Fault(**{part: _PARTS[part](**values) for part, values in entry.items()})
    if fault == Fault():
        raise problem(host, "needs a delay, an abort, or both")
    if fault.abort and (fault.abort.http_status is None) == (fault.abort.grpc_status is None):
        raise problem(f"{host}.abort", f"needs one of {' and '.join(_STATUSES)}")
    return fault


def _abort(share: int, status: str) -> Abort:
    """With a status that is none of success."""
    if status.isascii() and status.isdigit():
        if not 400 <= int(status) <= 599:
            raise DrillError(f"{status} is no HTTP status to fail with: those are 400 to 599")
        return Abort(share, http_status=int(status))
    if status not in GRPC_STATUSES[1:]:
        raise DrillError(f"{status!r} is no gRPC status to fail with; what is: {', '.join(GRPC_STATUSES[1:])}")
    return Abort(share, grpc_status=GRPC_STATUSES.index(status))


def _speaks_grpc(service: Service) -> bool:
    return any(port.protocol == "grpc" for port in service.ports)
