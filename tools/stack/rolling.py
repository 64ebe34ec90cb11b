"""Rolling restarts: one part at a time, the next when the last is back and called again."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Protocol

from tools.stack.part import Part, Stack, StackError
from tools.stack.requests import Restart, discard_request
from tools.stack.status import unhealthy

POLL_S = 0.05
READY_WITHIN_S = 120.0
"""From the end of a part to its next being ready; the restart policy may have made it wait meanwhile."""
CALLED_WITHIN_S = 30.0


class Restartable(Protocol):
    """What a restart needs of whoever keeps a part running."""

    part: Part

    @property
    def is_ready(self) -> bool:
        """Whether the part is."""

    @property
    def starts(self) -> int:
        """How often it became ready."""

    @property
    def stopping(self) -> bool:
        """Whether the whole stack ends."""

    @property
    def failure(self) -> str:
        """Why its first start failed; empty if it did not."""

    def restart(self) -> None:
        """Asks the part to end, and starts it again at once."""

    def end(self) -> None:
        """Asks the part to end, waits until it has, and forgets it."""


class Told(Protocol):
    """Is told how it goes."""

    def task(self, request: Restart, step: str, *, done: bool = False, error: str = "") -> None:
        """`step` is what is being done, or has been."""


Extra = Callable[[str], tuple[Stack, Restartable]]
"""Starts one more replica of a `replica_of`; the stack is the one that it knows itself in."""


class Rolling:
    """A restart under way, on a thread of its own. Without `extra` nobody stands in for an only replica."""

    def __init__(
        self,
        stack: Stack,
        keepers: Mapping[str, Restartable],
        request: Restart,
        board: Told,
        extra: Extra | None = None,
    ) -> None:
        self._stack, self._keepers, self._request, self._board, self._extra = stack, keepers, request, board, extra
        self._thread = threading.Thread(target=self._run, name="restart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        done: list[str] = []
        try:
            self._check()
            for name in self._request.parts:
                self._restart(self._keepers[name])
                done.append(name)
            self._wait_for_all()
        except StackError as error:
            rest = [name for name in self._request.parts if name not in done]
            left = f" (restarted: {', '.join(done)}; not: {', '.join(rest) or 'none'})" if done else ""
            self._end("", f"{error}{left}")
        except Exception as error:
            traceback.print_exc()
            self._end("", f"{type(error).__name__}: {error}")
        else:
            self._end(f"restarted {', '.join(done)}")

    def _end(self, step: str, error: str = "") -> None:
        """Whoever reads that it is done may ask for the next."""
        discard_request(self._stack.state)
        self._board.task(self._request, step, done=True, error=error)

    def _check(self) -> None:
        """Raises StackError for a part that is not there, and for one without which calls fail: `force` is for that."""
        for name in self._request.parts:
            if name not in self._keepers:
                raise StackError(f"there is no part {name!r}; parts are {', '.join(sorted(self._keepers))}")
            part = self._keepers[name].part
            if self._request.force or part.restart_note or (part.replica_of and (self._extra or self._others(part))):
                continue
            what = f"the only replica of {part.replica_of}" if part.replica_of else "one process"
            raise StackError(
                f"{name} is {what}: calls would fail while it is restarted; --force restarts it all the same"
            )

    def _restart(self, keeper: Restartable) -> None:
        part = keeper.part
        if self._request.force or not part.replica_of:
            self._tell(part.name, part.restart_note)
            self._replace(keeper)
        elif others := self._others(part):
            problems = [f"{each.name}: {problem}" for each in others if (problem := _not_called(self._stack, each))]
            if len(problems) == len(others):
                raise StackError(f"nothing would answer for {part.name}: {'; '.join(problems)}")
            self._tell(part.name)
            self._replace(keeper)
        else:
            self._replace_with_stand_in(keeper)

    def _replace_with_stand_in(self, keeper: Restartable) -> None:
        assert self._extra is not None
        stack, extra = self._extra(keeper.part.replica_of)
        try:
            self._tell(keeper.part.name, f"{extra.part.name} is started to stand in for it")
            self._wait(extra, lambda: "" if extra.is_ready else "is not ready", READY_WITHIN_S, keeper)
            self._wait(extra, lambda: _not_called(stack, extra.part), CALLED_WITHIN_S, keeper)
            self._tell(keeper.part.name, f"{extra.part.name} stands in for it")
            self._replace(keeper)
        finally:
            extra.end()

    def _replace(self, keeper: Restartable) -> None:
        part, before = keeper.part, keeper.starts
        keeper.restart()
        within_s = part.stop_within_s + READY_WITHIN_S
        self._wait(keeper, lambda: "" if keeper.starts > before and keeper.is_ready else "is not ready", within_s)
        self._wait(keeper, lambda: _not_called(self._stack, part), CALLED_WITHIN_S)

    def _wait_for_all(self) -> None:
        """Also those who had lost sight of a part have found it again then."""
        for keeper in self._keepers.values():
            self._wait(keeper, lambda part=keeper.part: _not_called(self._stack, part), CALLED_WITHIN_S)  # type: ignore[misc]

    def _others(self, part: Part) -> list[Part]:
        parts = [keeper.part for keeper in self._keepers.values() if keeper.part is not part]
        return [each for each in parts if part.replica_of and each.replica_of == part.replica_of]

    def _tell(self, name: str, note: str = "") -> None:
        self._board.task(self._request, f"restarting {name}" + (f": {note}" if note else ""))

    @staticmethod
    def _wait(
        keeper: Restartable, problem: Callable[[], str], within_s: float, stopped: Restartable | None = None
    ) -> None:
        """Raises StackError where the part does not come, or the stack (that `stopped` is of) is ended meanwhile."""
        deadline, name = time.monotonic() + within_s, keeper.part.name
        while found := problem():
            if (stopped or keeper).stopping:
                raise StackError("the stack was stopped")
            if keeper.failure:
                raise StackError(keeper.failure)
            if time.monotonic() > deadline:
                raise StackError(f"{name} did not come: {found}; see `weft logs {name}`")
            time.sleep(POLL_S)


def _not_called(stack: Stack, part: Part) -> str:
    """Why callers would not choose it now; empty if they do."""
    return unhealthy(stack.address(part.name), part.health) or part.unseen(stack)
