"""From nothing to a stack that answers: set-up, start, readiness, first use."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tools.stack.launch import Launched, claim, launch
from tools.stack.part import Declaration, StackError, declared_stack, load_declaration
from tools.stack.ports import check_free, resolve_ports
from tools.stack.snapshot import Snapshot
from tools.stack.status import unhealthy

HEALTHY_WITHIN_S = 60.0
POLL_S = 0.1


class Reporter(Protocol):
    """Is told how it goes."""

    def step(self, step: str, done: float) -> None:
        """What is being done now, and which share of it is done, 0 to 1."""

    def parts(self, snapshot: Snapshot) -> None:
        """The parts while they start, now and then."""


def bring_up(
    state: Path, name: str, reporter: Reporter, *, port_offset: int = 0, ports: Mapping[str, str] | None = None
) -> Launched:
    """Starts the stack that `load_declaration(name)` declares; answers when all parts are healthy and it was used once.

    Whatever goes wrong or interrupts: nothing is left running. `StackError`, `SetupError` and `KeyFileError` tell the
    user what to do.
    """
    declaration = load_declaration(name)
    resolved = resolve_ports(declaration.parts, offset=port_offset, chosen=ports or {}, others=declaration.others)
    stack = declared_stack(name, state, resolved)
    held = claim(state)
    check_free(stack.ports)
    declaration.prepare(stack, reporter.step)
    launched = launch(stack, held, declaration.parts)
    try:
        _wait_until_up(launched, reporter)
        _wait_until_healthy(launched, declaration, reporter)
        declaration.first_use(stack, reporter.step)
    except BaseException:
        launched.stop()
        raise
    return launched


def _wait_until_up(launched: Launched, reporter: Reporter) -> None:
    for snapshot in launched.snapshots():
        reporter.parts(snapshot)
        if snapshot.phase == "up":
            return
        if snapshot.error:
            raise StackError(snapshot.error)
    raise StackError(f"the supervisor has ended; its log is {launched.stack.log('supervisor')}")


def _wait_until_healthy(launched: Launched, declaration: Declaration, reporter: Reporter) -> None:
    """A process that is ready may still miss another: a service's health follows what it cannot work without. And who
    calls it may not yet know of it."""
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    waiting = list(declaration.parts)
    problems: dict[str, str] = {}
    while waiting:
        problems = {
            part.name: unhealthy(launched.stack.address(part.name), part.health) or part.unseen(launched.stack)
            for part in waiting
        }
        waiting = [part for part in waiting if problems[part.name]]
        if launched.guardian.poll() is not None:
            raise StackError(f"the supervisor has ended; its log is {launched.stack.log('supervisor')}")
        if waiting and time.monotonic() > deadline:
            told = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
            raise StackError(f"not healthy within {HEALTHY_WITHIN_S:g} s: {told} (see `weft logs`)")
        if waiting:
            names = ", ".join(part.name for part in waiting)
            reporter.step(f"waiting for the health of {names}", 1 - len(waiting) / len(declaration.parts))
            time.sleep(POLL_S)
