"""Ways to the same answers, and what each of them did."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from tools.bench.callers import CallersProcess, Order, Outcome


@dataclass(frozen=True)
class Way:
    """A way to the answers: the order that its callers get, and the processes that work for it, by their names."""

    name: str
    order: Order
    processes: Mapping[str, int]
    unary_only: bool = False


@dataclass
class Measured:
    """What one way did, round by round; processor time is of all rounds. `calls` are messages that came."""

    per_s: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    calls: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)


async def turn(way: Way, order: Order, load: CallersProcess, into: Measured) -> None:
    """One turn of a way."""
    pids = {**way.processes, "callers": load.pid}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    outcome: Outcome = await load.carry_out(order)
    for name, pid in pids.items():
        into.cpu_s[name] = into.cpu_s.get(name, 0.0) + cpu_s(pid) - before[name]
    into.per_s.append(outcome.messages / outcome.took_s)
    into.waits_ms += outcome.waits_ms
    into.calls += outcome.messages


def whole(turns: Iterable[Measured]) -> Measured:
    """Turns of one way as one."""
    found = Measured()
    for one in turns:
        found.per_s += one.per_s
        found.waits_ms += one.waits_ms
        found.calls += one.calls
        for name, seconds in one.cpu_s.items():
            found.cpu_s[name] = found.cpu_s.get(name, 0.0) + seconds
    return found


class Others:
    """Processor time of all that runs on this machine but is not this process, nor started by it."""

    def __init__(self) -> None:
        self._all_s, self._own_s, self._began_s = _all_s(), _own_s(), time.monotonic()

    def share(self) -> float:
        """Cores' worth of it since this was made."""
        took_s = time.monotonic() - self._began_s
        return max(0.0, (_all_s() - self._all_s) - (_own_s() - self._own_s)) / took_s


def _all_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_s() -> float:
    this = psutil.Process()
    found = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += cpu_s(process.pid)
    return found


def ratios(one: Measured, other: Measured) -> list[float]:
    """Of their rates, round by round."""
    return [a / b for a, b in zip(one.per_s, other.per_s, strict=True)]


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
