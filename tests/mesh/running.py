"""A whole stack in its mesh as tests see it: replicas, what arrived at each, and rules that can be changed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from libs.config.files import write_whole
from libs.parts.envoy import ask_admin
from libs.testing.eventually import eventually
from tests.conftest import RunningStack
from tools.localmesh.drills import clear_drills, drills, written_are_on
from tools.localmesh.pods import Pod
from tools.localmesh.told import Status, read_status
from tools.stack.mesh import FOLDER
from tools.stack.replicas import Replicas, stack_replicas
from tools.stack.snapshot import PartSnapshot, read_snapshot

READY_WITHIN_S = 60.0
IN_FORCE_WITHIN_S = 30.0


@dataclass(frozen=True)
class RunningMesh(RunningStack):
    """A stack with a mesh whose rules are its own, `written` before any change."""

    rules: Path
    written: Path

    @property
    def state(self) -> Path:
        """The mesh's own folder."""
        return self.stack.folder(FOLDER)

    @property
    def envoy(self) -> Path:
        return self.state / "envoy"

    def served_pods(self) -> list[Pod]:
        """Those with a process: all but the edge."""
        return [pod for pod in self._replicas.pods(self.stack) if pod.app]

    @cached_property
    def _replicas(self) -> Replicas:
        return stack_replicas(self.stack)

    def status(self) -> Status:
        found = read_status(self.state)
        assert found, "the controller tells nothing"
        return found

    def part(self, name: str) -> PartSnapshot:
        """As the supervisor sees it now."""
        snapshot = read_snapshot(self.stack.state)
        assert snapshot
        return next(part for part in snapshot.parts if part.name == name)

    def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's numbers whose names match the regular expression."""
        lines = ask_admin(self.envoy, "GET", f"/stats?filter={quote(pattern)}").decode().splitlines()
        pairs = (line.rpartition(": ")[::2] for line in lines)
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def arrived(self, workload: str) -> Counter[str]:
        """How many calls each replica of a Deployment got so far, by its name: what its proxy handed to it."""
        return self._handed(workload, "upstream_rq_total")

    def under_way(self, workload: str) -> Counter[str]:
        """How many calls each replica of a Deployment has now, by its name."""
        return self._handed(workload, "upstream_rq_active")

    def _handed(self, workload: str, number: str) -> Counter[str]:
        pods = {replica.pod for replica in self._replicas.all if replica.workload.name == workload}
        found: Counter[str] = Counter()
        for name, value in self.stats(rf"^cluster\.inbound\|.*\.{number}$").items():
            pod = name.removesuffix(f".{number}").rpartition("@")[2]
            if pod in pods:
                found[pod] += value
        return found

    def ejected(self, service: str) -> int:
        """How many times one of the service's replicas is left out now, over all who call it."""
        pattern = rf"^cluster\..*/{service}@.*outlier_detection\.ejections_active$"
        return sum(self.stats(pattern).values())

    def executions(self, part: str, tenant: str) -> list[dict[str, Any]]:
        """What a replica's own log says that it has done for a tenant."""
        lines = self.stack.log(part).read_text(errors="replace").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{") and '"execution"' in line]
        return [entry for entry in told if (entry["event"], entry.get("tenant")) == ("execution", tenant)]

    def kill(self, part: str) -> int:
        """kill -9; how often the part had been restarted before."""
        found = self.part(part)
        assert found.pid
        os.kill(found.pid, signal.SIGKILL)
        return found.restarts

    @contextmanager
    def halted(self, *parts: str) -> Iterator[None]:
        """Their processes do nothing while it is entered; those that are killed meanwhile stay so."""
        pids = [pid for pid in (self.part(part).pid for part in parts) if pid]
        assert len(pids) == len(parts)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                resume(pid)

    async def eventually_serves(self, pod: str, restarts: int = 0) -> None:
        """Until the pod's part was restarted so often, and the mesh gives it calls."""
        part = next(replica.part for replica in self._replicas.all if replica.pod == pod)

        def serves() -> bool:
            found = self.part(part)
            return found.state == "ready" and found.restarts >= restarts and pod in self.status().ready

        await eventually(serves, within_s=READY_WITHIN_S, every_s=0.05)

    async def change(self, file: str, *edits: tuple[str, str]) -> None:
        """Replaces texts in a file of the rules, all their occurrences; returns when Envoy has what that means."""
        path = self.rules / file
        text = path.read_text()
        for old, new in edits:
            assert old in text, f"{old!r} is not in {file}"
            text = text.replace(old, new)
        await self.write(file, text)

    async def rewrite(self, file: str, pattern: str, replacement: str) -> None:
        """Replaces what a regular expression matches in a file of the rules, as `change` does."""
        text, count = re.subn(pattern, replacement, (self.rules / file).read_text())
        assert count, f"{pattern!r} is not in {file}"
        await self.write(file, text)

    async def write(self, file: str, text: str) -> None:
        """Puts a text in the place of a file of the rules; returns when Envoy has what that means."""
        before = self.status().published
        write_whole(self.rules / file, text)
        await self.eventually_published(before)

    async def make_standard_slow(self, delay_s: int) -> None:
        """What a slow model would do to who waits for it: each execution on a standard replica begins so late. Only
        executions: that models are asked for their health is as quick as ever."""
        before = "  hosts: [triton.weft.svc.cluster.local]\n  http:\n"
        slow = (
            "    - name: slow\n"
            "      match: [{uri: {exact: /inference.GRPCInferenceService/ModelStreamInfer}}]\n"
            "      route:\n        - destination: {host: triton.weft.svc.cluster.local}\n"
            "      retries: {attempts: 0}\n"
            f"      fault: {{delay: {{percentage: {{value: 100}}, fixedDelay: {delay_s}s}}}}\n"
        )
        await self.change("routing.yaml", (before, before + slow))

    async def end_drills(self) -> None:
        """Returns when there is none."""
        if drills(self.state) or written_are_on(self.state):
            before = self.status().published
            clear_drills(self.state)
            await self.eventually_published(before)

    async def restore(self) -> None:
        """Makes the rules what they were at first; returns when they are in force."""
        for file in sorted(path for path in self.rules.rglob("*") if path.is_file()):
            source = self.written / file.relative_to(self.rules)
            before = self.status()
            if not source.exists():
                file.unlink()
            elif file.read_text() != source.read_text():
                write_whole(file, source.read_text())
                # Written faults are those of nobody who does not ask for them.
                if before.rules == "in force" and file.parent == self.rules:
                    await self.eventually_published(before.published)
        await eventually(lambda: self.status().rules == "in force", within_s=IN_FORCE_WITHIN_S)

    async def eventually_published(self, before: int) -> None:
        """Until Envoy was given something new since then. Raises AssertionError for rules that are refused."""

        def is_in_force() -> bool:
            status = self.status()
            assert status.rules == "in force", status.problems
            return status.published > before

        await eventually(is_in_force, within_s=IN_FORCE_WITHIN_S)


def resume(pid: int) -> None:
    """Lets a halted process go on, where there still is one."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
