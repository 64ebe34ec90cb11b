"""A whole stack that its tests may kill, with everything that was ever seen to belong to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import psutil

from libs.testing.eventually import eventually
from tests.commands import run_weft, start_weft
from tools.stack.ports import setting
from tools.stack.snapshot import read_snapshot

SERVICES = ("gateway", "rag", "embedding", "inference", "inference-gpu")
PARTS = (*SERVICES, "envoy", "mesh", "issuer", "triton", "redis", "qdrant")
# What a test waits for, sooner than a user would want to pay for it.
SETTINGS = {"WEFT_RAG_INGEST_LEASE_S": "5", "WEFT_RAG_SWEEP_EVERY_S": "0.5", "WEFT_RAG_SWEEP_GRACE_S": "0"}
GONE_WITHIN_S = 20.0
READY_WITHIN_S = 60.0


class WholeStack:
    """`weft` commands on one state folder, at any free ports."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._environment = {**{setting(part): "0" for part in PARTS}, **SETTINGS}
        self._seen: dict[int, psutil.Process] = {}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return start_weft(self.state, *arguments, **self._environment)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_weft(self.state, *arguments, **self._environment)

    def up(self) -> dict[str, Any]:
        """Starts it unless it runs; answers the status."""
        status = self.status()
        if not status["ready"]:
            done = self.run("up", "--detach")
            assert done.returncode == 0, done.stderr
            status = self.status()
        assert status["ready"], status
        return status

    def status(self) -> dict[str, Any]:
        """What `status --json` tells."""
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return status

    def part(self, name: str, status: dict[str, Any] | None = None) -> dict[str, Any]:
        parts: list[dict[str, Any]] = (status or self.status())["parts"]
        return next(part for part in parts if part["name"] == name)

    async def eventually_restarted(self, name: str, restarts: int) -> dict[str, Any]:
        """The part's status, as soon as all is ready after so many restarts of it."""

        def look() -> dict[str, Any] | None:
            status = self.status()
            part = self.part(name, status)
            return part if status["ready"] and part["restarts"] >= restarts else None

        part: dict[str, Any] = await eventually(look, within_s=READY_WITHIN_S, every_s=0.2)
        return part

    def address(self, part: str) -> str:
        """Wherever it is this time."""
        snapshot = read_snapshot(self.state)
        assert snapshot
        return next(each.address for each in snapshot.parts if each.name == part)

    @property
    def entry(self) -> str:
        """Where users dial."""
        snapshot = read_snapshot(self.state)
        assert snapshot
        return snapshot.entry

    def key(self, name: str) -> str:
        """A token or password of the stack."""
        return (self.state / "keys" / name).read_text().strip()

    def remember_processes(self) -> None:
        """All that run under the guardian now, children of children too."""
        snapshot = read_snapshot(self.state)
        assert snapshot
        guardian = psutil.Process(snapshot.supervisor_pid).parent()
        assert guardian
        seen = [guardian, *guardian.children(recursive=True)]
        stubs = [process for process in seen if process.name().startswith("triton_python")]
        assert len(stubs) == 2, seen
        assert {part.pid for part in snapshot.parts} < {process.pid for process in seen}
        self._seen.update({process.pid: process for process in seen})

    def left_processes(self) -> list[str]:
        """Those of the remembered that still live."""
        return [f"{process.pid} {_name(process)}" for process in self._seen.values() if _lives(process)]

    async def eventually_nothing_is_left(self) -> None:
        """No process, no socket file, no shared-memory segment."""
        assert len(self._seen) > len(PARTS)
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not self.left_processes(), within_s=GONE_WITHIN_S)
        assert self.left_processes() == []
        assert self._left_files() == []

    def _left_files(self) -> list[Path]:
        segments = [path for pid in self._seen for path in Path("/dev/shm").glob(f"weft-*-{pid}-*")]
        return segments + [path for path in self.state.rglob("*") if path.is_socket()]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return "gone"
