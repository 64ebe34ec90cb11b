"""Claims a state folder, starts a stack's supervisor under its guardian, and ends it again."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from libs.parts.install import REPOSITORY_ROOT
from libs.parts.processes import python_environment
from tools.stack import guardian
from tools.stack.leash import LET_GO
from tools.stack.logs import last_lines
from tools.stack.part import Part, Stack, StackError
from tools.stack.requests import discard_request
from tools.stack.snapshot import Snapshot, process_start, read_snapshot

ENDED = ("stopped", "failed")
POLL_S = 0.05
CLAIM_WITHIN_S = 0.5  # `is_claimed` holds the lock for a moment
STOP_WITHIN_S = 90.0
SUPERVISOR_LOG_LINES = 20


class Claim:
    """The right to run a stack on a state folder. It ends when every process that holds the open file has ended."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()

    def name_owner(self, pid: int) -> None:
        """Writes down whom `down` has to signal."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{pid}\n")
        self._file.flush()

    def release(self) -> None:
        """Gives up this process's hold on it."""
        self._file.close()


def claim(state: Path) -> Claim:
    """Makes the state folder if it is not there. `StackError` if a stack runs on it, or it cannot be used."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        (state / "logs").mkdir(exist_ok=True)
        file = (state / "lock").open("a+")
    except (FileExistsError, NotADirectoryError):
        raise StackError(f"{state} is not a folder: name another one with --state") from None
    except OSError as error:
        raise StackError(f"cannot write to {state} ({error.strerror}): name another folder with --state") from None
    if not _lock(file, CLAIM_WITHIN_S):
        running = read_snapshot(state)
        owner = running.supervisor_pid if running and running.phase not in ENDED else _owner(state)
        file.close()
        raise StackError(
            f"a stack is already running on {state} (pid {owner}): see `weft status`, stop it with `weft down`, "
            "or name another folder with --state and other ports with --port-offset"
        )
    held = Claim(file)
    held.name_owner(os.getpid())
    return held


@dataclass
class Launched:
    """A supervisor under way. While it is held, the stack ends with this process."""

    stack: Stack
    guardian: subprocess.Popen[bytes]

    def snapshots(self, every_s: float = POLL_S) -> Iterator[Snapshot]:
        """What the supervisor tells, until the guardian has ended. `StackError` if nothing ever came."""
        seen = False
        while True:
            ended = self.guardian.poll() is not None
            snapshot = read_snapshot(self.stack.state)
            if snapshot:
                seen = True
                yield snapshot
            if ended and not seen:
                lines = "\n".join(last_lines(self.stack.log("supervisor"), SUPERVISOR_LOG_LINES))
                raise StackError(f"the supervisor did not start; {self.stack.log('supervisor')} ends with\n{lines}")
            if ended:
                return
            time.sleep(every_s)

    def let_go(self) -> None:
        """From now on the stack outlives this process."""
        assert self.guardian.stdin is not None
        self.guardian.stdin.write(LET_GO)
        self.guardian.stdin.close()

    def stop(self, grace_s: float = STOP_WITHIN_S) -> None:
        """Stops all; after the grace, by force. The guardian has ended when it returns, and with it everything."""
        self.guardian.terminate()  # it passes the signal on
        try:
            self.guardian.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the supervisor at once; the guardian does the rest."""
        snapshot = read_snapshot(self.stack.state)
        if snapshot and snapshot.phase not in ENDED:
            _signal(snapshot.supervisor_pid, signal.SIGKILL)
        self.guardian.wait()


def launch(stack: Stack, held: Claim, parts: Sequence[Part]) -> Launched:
    """Starts the supervisor of a declared stack; the claim passes to it."""
    (stack.state / "state.json").unlink(missing_ok=True)
    discard_request(stack.state)
    guardian.remove_shared_memory()  # of a stack whose guardian was killed too
    ports = [f"{part.name}={stack.ports[part.name]}" for part in parts]
    supervisor = [sys.executable, "-P", "-m", "tools.stack", str(stack.state), stack.declaration, *ports]
    command = [sys.executable, "-I", "-S", guardian.__file__, str(stack.state), *supervisor]
    with stack.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY_ROOT,
            env={**os.environ, **python_environment()},
            pass_fds=[held.fileno()],
            start_new_session=True,
            bufsize=0,
        )
    held.name_owner(process.pid)
    held.release()
    return Launched(stack, process)


def is_claimed(state: Path) -> bool:
    """Whether a stack runs on this folder, or is being set up or stopped."""
    try:
        with (state / "lock").open("r+") as file:
            return not _lock(file, 0.0)
    except OSError:
        return False


def stop(state: Path, grace_s: float = STOP_WITHIN_S) -> Iterator[Snapshot | None]:
    """Stops the stack of another process; tells how it goes until all has ended. By force after the grace."""
    _signal(_owner(state), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while is_claimed(state):
        snapshot = read_snapshot(state)
        yield snapshot
        if time.monotonic() > deadline and snapshot:
            _signal(snapshot.supervisor_pid, signal.SIGKILL)
        time.sleep(POLL_S)
    guardian.remove_shared_memory()


def _owner(state: Path) -> int:
    """The guardian, or what does the set-up before there is one; 0 if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return int((state / "lock").read_text())
    return 0


def _signal(pid: int, number: signal.Signals) -> None:
    if pid > 0 and process_start(pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _lock(file: IO[str], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
