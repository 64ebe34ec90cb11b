"""Child processes that end with what started them, and that say why they did not start."""

import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from libs.parts.tether import tethered

T = TypeVar("T")
POLL_S = 0.01
LAST_LINES = 20
PORTS = (15_000, 32_000)
"""Below the ports of outgoing connections (Linux: from 32,768 on)."""


class PartError(RuntimeError):
    """A part did not start; the message names it, says why, and ends with the last lines of its log."""


@dataclass(frozen=True)
class RunningPart:
    """A process of its own session that is killed when this process dies. Ask `running()`, not `process.poll()`."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        """Leaves a process that has ended unreaped, so that its id stays its own until `stop`."""
        if self.process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # another thread has just reaped it
            return False

    def written(self) -> str:
        """What this start of the part wrote to its log."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def stop(self, grace_s: float = 10.0) -> int:
        """Asks with SIGTERM, kills after `grace_s` what is left of the process group; answers the exit code."""
        if self.process.returncode is not None:
            return self.process.returncode
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self.running() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.process.wait()


def start_part(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    address: str = "",
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> RunningPart:
    """Starts a program whose output is appended to `log`. It is not yet ready: see `wait_until`.

    `environment` is added to this process's own. `death_signal` is what the program gets when this process dies.
    May be called from any thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        log_start = output.tell()
        process = _on_lasting_thread(
            lambda: subprocess.Popen(
                tethered(command, death_signal),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
                start_new_session=True,
            )
        )
    return RunningPart(name, address, process, log, log_start)


def wait_until(part: RunningPart, condition: Callable[[], T | None], within_s: float) -> T:
    """Answers the condition's first true value. If the part ends or is late, it is stopped: `PartError`."""
    deadline = time.monotonic() + within_s
    try:
        while part.running():
            if value := condition():
                return value
            if time.monotonic() > deadline:
                raise PartError(f"{part.name} was not ready within {within_s:g} s{_last_lines(part)}")
            time.sleep(POLL_S)
    except BaseException:
        part.stop(grace_s=1.0)
        raise
    raise PartError(f"{part.name} ended with exit code {part.stop()}{_last_lines(part)}")


def free_port() -> int:
    """A loopback TCP port that nobody listens on now. Another process may still take it first, but only one that looks
    for such a port too: it is none of those that the system itself gives to connections."""
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def python_environment() -> dict[str, str]:
    """For Python children: this process's import path, which an interpreter alone does not know inside a pex."""
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONUNBUFFERED": "1"}


def _last_lines(part: RunningPart) -> str:
    lines = part.written().splitlines()[-LAST_LINES:]
    return f"; its log {part.log} ends with\n" + "\n".join(lines) if lines else f"; its log {part.log} is empty"


def _on_lasting_thread(make: Callable[[], T]) -> T:
    """Runs `make` on a thread that lives as long as the process: a child is tied to the thread that started it."""
    future: Future[T] = Future()

    def task() -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            future.set_exception(error)

    _spawner(os.getpid()).put(task)
    return future.result()


@functools.lru_cache(maxsize=1)
def _spawner(pid: int) -> SimpleQueue[Callable[[], None]]:
    """One for a process: a fork does not inherit threads. A daemon thread is never joined, so it does not end early."""
    tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def work() -> None:
        while True:
            tasks.get()()

    threading.Thread(target=work, name=f"spawner-{pid}", daemon=True).start()
    return tasks
