"""A stack of the lab as a user would run it: the command line in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tools.stack.snapshot import read_snapshot
from tools.stack.status import look, nothing

COMMAND = [sys.executable, "-P", "-m", "tools.cli.tests.lab_cli"]
ANY_PORTS = {f"WEFT_PORT_{part}": "0" for part in ("REDIS", "WORKER", "DOOR")}
WITHIN_S = 20.0


class LabStack:
    """Commands on one state folder; knows every process and segment that was ever seen to belong to the stack."""

    def __init__(self, state: Path, options: str = "") -> None:
        self.state = state
        paths = os.pathsep.join(filter(None, sys.path))
        self.environment = {**os.environ, **ANY_PORTS, "PYTHONPATH": paths, "LAB_OPTIONS": options}
        self._seen: dict[int, float] = {}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *arguments, "--state", str(self.state)]
        return subprocess.run(
            command, env={**self.environment, **environment}, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """In the background."""
        command = [*COMMAND, *arguments, "--state", str(self.state)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def up(self) -> dict[str, Any]:
        """Answers the status when it is ready."""
        done = self.run("up", "--detach")
        assert done.returncode == 0, done.stderr
        return self.status()

    def status(self) -> dict[str, Any]:
        """As `status --json` tells it, without the cost of another interpreter."""
        snapshot = read_snapshot(self.state)
        status = look(snapshot) if snapshot else nothing("stopped")
        self._remember(status.supervisor_pid)
        return status.as_json()

    def told_status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return status

    def part(self, name: str) -> dict[str, Any]:
        return next(part for part in self.status()["parts"] if part["name"] == name)

    def _remember(self, supervisor: int | None) -> None:
        """All processes under the guardian."""
        guardian = psutil.Process(supervisor).parent() if supervisor else None
        if guardian:
            for process in (guardian, *guardian.children(recursive=True)):
                self._seen[process.pid] = process.create_time()

    def eventually(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
            time.sleep(0.05)

    def eventually_nothing_is_left(self) -> None:
        """No process, no shared-memory segment, no socket file of the stack."""
        assert len(self._seen) >= 7, "a whole stack was seen before"
        self.eventually(lambda: not self.left_processes(), f"end of {self.left_processes()}")
        segments = [path for pid in self._seen for path in Path("/dev/shm").glob(f"weft-lab-{pid}-*")]
        self.eventually(lambda: not any(path.exists() for path in segments), f"removal of {segments}")
        assert [path for path in self.state.rglob("*") if path.is_socket()] == []

    def left_processes(self) -> list[int]:
        return [pid for pid, created in self._seen.items() if _lives(pid, created)]


def _lives(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
