"""Starts the parts of a stack, keeps them running, and stops them in order. Knows no part by name."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from libs.parts.processes import PartError, RunningPart
from tools.stack.guardian import adopt_orphans
from tools.stack.logs import rotate
from tools.stack.part import Declaration, Part, RestartPolicy, Stack, start_waves
from tools.stack.requests import Restart, read_request
from tools.stack.rolling import Rolling
from tools.stack.snapshot import PartSnapshot, Phase, Snapshot, TaskSnapshot, write_snapshot

POLL_S = 0.1
IDLE_POLL_S = 0.5
LOG_LIMIT_BYTES = 8 * 1024 * 1024
EXIT_TEXT_LIMIT = 4_000  # characters


class StopRequests(Protocol):
    def wait(self, timeout_s: float) -> bool:
        """Whether the stack is to stop; waits that long for it."""


class Board:
    """The snapshot: changed by several threads, published at every change."""

    def __init__(self, stack: Stack, snapshot: Snapshot) -> None:
        self._stack = stack
        self._lock = threading.Lock()
        self.snapshot = snapshot

    def part(self, name: str, **changes: object) -> None:
        """A new state also sets `since`."""
        if "state" in changes:
            changes["since"] = time.time()
            told = f"{time.strftime('%FT%TZ', time.gmtime())} {name} {changes['state']} {changes.get('last_exit', '')}"
            sys.stdout.write(told.rstrip() + "\n")
            sys.stdout.flush()
        self._change(lambda snapshot: snapshot.with_part(name, **changes))

    def add(self, part: PartSnapshot) -> None:
        self._change(lambda snapshot: replace(snapshot, parts=(*snapshot.parts, part)))

    def remove(self, name: str) -> None:
        self._change(
            lambda snapshot: replace(snapshot, parts=tuple(part for part in snapshot.parts if part.name != name))
        )

    def phase(self, phase: Phase, error: str = "") -> None:
        self._change(lambda snapshot: replace(snapshot, phase=phase, error=error or snapshot.error))

    def task(self, request: Restart, step: str, *, done: bool = False, error: str = "") -> None:
        """How far a request is."""
        self._change(lambda snapshot: replace(snapshot, task=TaskSnapshot(request.id, step, done, error)))

    def _change(self, make: Callable[[Snapshot], Snapshot]) -> None:
        with self._lock:
            self.snapshot = make(self.snapshot)
            write_snapshot(self._stack.state, self.snapshot)


class Keeper:
    """Keeps one part running, on a thread of its own, until it is told to stop."""

    def __init__(
        self, part: Part, needs: Sequence["Keeper"], stack: Stack, board: Board, policy: RestartPolicy
    ) -> None:
        self.part = part
        self.was_ready = threading.Event()
        self.failure = ""
        self.starts = 0
        self._needs, self._stack, self._board, self._policy = needs, stack, board, policy
        self._running: RunningPart | None = None
        self._stopping = threading.Event()
        self._to_restart = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=part.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def request_stop(self) -> None:
        self._stopping.set()

    def restart(self) -> None:
        """Asks the part to end, and starts it again at once: that it ended so is no failure."""
        self._to_restart.set()

    def end(self) -> None:
        """Asks the part to end, waits until it has, and forgets it."""
        self.request_stop()
        self._thread.join()
        self._board.remove(self.part.name)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def join(self) -> None:
        """Until a running part has stopped. One that is still starting is left to the guardian, who ends all."""
        if self.is_ready:
            self._thread.join()
        elif not self.failure:
            self._board.part(self.part.name, state="stopped", pid=None)

    @property
    def is_ready(self) -> bool:
        return self._running is not None

    def _keep(self) -> None:
        name = self.part.name
        while not all(need.was_ready.is_set() for need in self._needs):
            if self._stopping.wait(POLL_S):
                return
        self._board.part(name, state="starting")
        failures = restarts = 0
        while True:
            last_exit, healthy_s = self._run_once()
            if self._stopping.is_set():
                self._board.part(name, state="stopped", pid=None)
                return
            if not self.was_ready.is_set():
                self.failure = last_exit
                self._board.part(name, state="failed", pid=None, last_exit=last_exit)
                return
            if self._to_restart.is_set() and healthy_s:
                failures = 0
                self._board.part(name, state="starting", pid=None)
                continue
            failures = 1 if healthy_s >= self._policy.healthy_after_s else failures + 1
            self._board.part(name, state="restarting", pid=None, last_exit=last_exit)
            if self._stopping.wait(self._policy.wait_s(failures)):
                return
            restarts += 1
            self._board.part(name, restarts=restarts)

    def _run_once(self) -> tuple[str, float]:
        """Answers how the part ended, and for how long it had been ready."""
        rotate(self._stack.log(self.part.name), LOG_LIMIT_BYTES)
        self._to_restart.clear()
        try:
            running = self.part.start(self._stack)
        except PartError as error:
            return str(error)[-EXIT_TEXT_LIMIT:], 0.0
        except Exception as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"[-EXIT_TEXT_LIMIT:], 0.0
        ready_at = time.monotonic()
        self._running = running
        self.starts += 1
        self._board.part(self.part.name, state="ready", pid=running.pid, address=running.address)
        self.was_ready.set()
        while running.running():
            if self._stopping.wait(POLL_S) or self._to_restart.is_set():
                self._board.part(self.part.name, state="stopping")
                break
        code = running.stop(self.part.stop_within_s)
        self._running = None
        return _describe_exit(code), time.monotonic() - ready_at


class Supervisor:
    """Runs a stack from the start of its parts to their stop."""

    def __init__(self, stack: Stack, declaration: Declaration, board: Board, stop_requests: StopRequests) -> None:
        self._stack, self._declaration, self._board, self._stop_requests = stack, declaration, board, stop_requests
        self._waves: list[list[Keeper]] = []
        keepers: dict[str, Keeper] = {}
        for wave in start_waves(declaration.parts):
            for part in wave:
                needs = [keepers[need] for need in part.needs]
                keepers[part.name] = Keeper(part, needs, stack, board, declaration.restarts)
            self._waves.append([keepers[part.name] for part in wave])
        self._keepers = list(keepers.values())
        self._rolling: Rolling | None = None

    def run(self) -> bool:
        """Until a stop is requested (True), or a part fails in its first start (False). All parts are stopped then."""
        for keeper in self._keepers:
            keeper.start()
        up = False
        while not self._stop_requests.wait(IDLE_POLL_S if up else POLL_S):
            if failed := [keeper for keeper in self._keepers if keeper.failure]:
                self._board.phase("stopping", error="\n".join(keeper.failure for keeper in failed))
                self._stop()
                self._board.phase("failed")
                return False
            if not up and all(keeper.was_ready.is_set() for keeper in self._keepers):
                up = True
                self._board.phase("up")
            if up:
                self._take_request()
            # Not while a part starts: what it wrote since then tells whether it is ready.
            for name in ("supervisor", *(keeper.part.name for keeper in self._keepers if keeper.is_ready)):
                rotate(self._stack.log(name), LOG_LIMIT_BYTES)
        self._board.phase("stopping")
        self._stop()
        self._board.phase("stopped")
        return True

    def _take_request(self) -> None:
        """Begins what is asked for, one at a time."""
        busy = self._rolling is not None and not self._rolling.has_ended
        if not busy and (request := read_request(self._stack.state)):
            keepers = {keeper.part.name: keeper for keeper in self._keepers}
            extra = self._start_extra if self._declaration.stand_in else None
            self._rolling = Rolling(self._stack, keepers, request, self._board, extra)
            self._rolling.start()

    def _start_extra(self, replica_of: str) -> tuple[Stack, Keeper]:
        """A part that was not declared. The guardian ends it where nobody else does."""
        assert self._declaration.stand_in is not None
        stack, part = self._declaration.stand_in(self._stack, replica_of)
        self._board.add(
            PartSnapshot(part.name, stack.address(part.name), health=part.health, replica_of=part.replica_of)
        )
        keeper = Keeper(part, [], stack, self._board, self._declaration.restarts)
        keeper.start()
        return stack, keeper

    def _stop(self) -> None:
        """Each part before those that it needs. What parts leave behind is adopted, for `__main__` to end."""
        adopt_orphans()
        for wave in reversed(self._waves):
            for keeper in wave:
                keeper.request_stop()
            for keeper in wave:
                keeper.join()


def _describe_exit(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
