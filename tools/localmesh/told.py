"""What the controller tells: a file of the stack's state, metrics, and log lines."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from libs.config.files import write_whole
from libs.telemetry import logs, metrics
from tools.localmesh.mesh import Edge
from tools.localmesh.pods import Pod
from tools.localmesh.problems import Problem
from tools.localmesh.state import Paths

FILE = "status.json"


@dataclass(frozen=True)
class ToldProblem:
    """As `Problem`. `message` is all of it in one line."""

    file: str
    line: int
    field: str
    text: str
    message: str


@dataclass(frozen=True)
class Status:
    """`rules`: "in force", or "refused": then the `problems` say why, and those before them still are. Unix seconds.

    `edge`: where callers dial, `certificate`: what it shows them ("" is plain text); the folders: where the rules and
    the workloads are read.
    `since`: when that was last found; `published`: how often Envoy was given something new; `ready`: pods that get
    calls; `drills`: hosts with faults for a drill.
    """

    pid: int
    edge: str
    rules_folder: str
    base_folder: str
    certificate: str = ""
    rules: str = "in force"
    since: float = 0.0
    problems: tuple[ToldProblem, ...] = ()
    published: int = 0
    ready: tuple[str, ...] = ()
    drills: tuple[str, ...] = ()


def read_status(state: Path) -> Status | None:
    """What a controller told last; None where none has, or it is of another kind."""
    try:
        entries = json.loads((state / FILE).read_text())
        entries["problems"] = tuple(ToldProblem(**problem) for problem in entries["problems"])
        entries |= {name: tuple(entries[name]) for name in ("ready", "drills")}
        return Status(**entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


class Board:
    """Keeps the status file, the metrics and the log in step."""

    def __init__(self, paths: Paths, edge: Edge) -> None:
        self._state = paths.state
        rules, base = str(paths.rules.absolute()), str(paths.base.absolute())
        self.status = Status(os.getpid(), edge.listen, rules, base, str(edge.certificate or ""))
        self._refused = metrics.gauge("weft_mesh_rules_refused", "1 while the rules in the files are not in force.")
        self._changes = metrics.counter(
            "weft_mesh_changes_total", "Changes of rules, by what became of them.", ("outcome",)
        )
        self._ready = metrics.gauge("weft_mesh_pods_ready", "Pods that get calls.", ("workload",))

    def refused(self, problems: Sequence[Problem]) -> None:
        """The files cannot be used; what was in force still is."""
        told = tuple(
            ToldProblem(str(problem.place.file), problem.place.line, problem.field, problem.text, str(problem))
            for problem in problems
        )
        self._refused.set(1)
        self._changes.labels(outcome="refused").inc()
        logs.warning("rules_refused", problems=[problem.message for problem in told])
        self._tell(rules="refused", problems=told, since=time.time())

    def in_force(self, published: bool, drills: Iterable[str]) -> None:
        """The files are in force."""
        was_refused = self.status.rules == "refused"
        self._refused.set(0)
        if published:
            self._changes.labels(outcome="published").inc()
        if published or was_refused:
            logs.info("rules_mended" if was_refused else "rules_published", drills=sorted(drills))
        self._tell(
            rules="in force",
            problems=(),
            published=self.status.published + published,
            drills=tuple(sorted(drills)),
            since=time.time() if published or was_refused else self.status.since,
        )

    def ready(self, pods: Iterable[Pod], names: frozenset[str]) -> None:
        """These pods get calls."""
        pods = list(pods)
        self._ready.clear()
        for workload, count in Counter(pod.workload.name for pod in pods if pod.name in names).items():
            self._ready.labels(workload=workload).set(count)
        self._tell(ready=tuple(sorted(names)))

    def _tell(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        write_whole(self._state / FILE, json.dumps(asdict(self.status), indent=1) + "\n")
