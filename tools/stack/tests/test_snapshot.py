import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tools.stack.snapshot import PartSnapshot, Snapshot, TaskSnapshot, process_start, read_snapshot, write_snapshot

PARTS = (
    PartSnapshot("a", "127.0.0.1:1", "ready", pid=5, health=("", "a.v1"), replica_of="as"),
    PartSnapshot("b", "127.0.0.1:2", "failed", last_exit="why"),
)
TASK = TaskSnapshot("one", step="b", done=True, error="b did not come back")


def test_a_snapshot_of_a_living_supervisor_is_read_as_written(tmp_path: Path) -> None:
    """What is written is read."""
    snapshot = Snapshot(os.getpid(), process_start(os.getpid()), "module", "up", task=TASK, parts=PARTS)
    write_snapshot(tmp_path, snapshot)
    assert read_snapshot(tmp_path) == snapshot


def test_a_dead_supervisor_has_stopped_parts(tmp_path: Path) -> None:
    """Also when its process id belongs to another process by now; what failed stays failed."""
    snapshot = Snapshot(os.getpid(), process_start(os.getpid()) - 1, "module", "up", parts=PARTS)
    write_snapshot(tmp_path, snapshot)
    stopped = (replace(PARTS[0], state="stopped", pid=None), PARTS[1])
    assert read_snapshot(tmp_path) == replace(snapshot, phase="stopped", parts=stopped)


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"parts": [{"unknown": 1}]}'])
def test_a_spoilt_file_is_nothing(tmp_path: Path, content: str | None) -> None:
    """A missing, empty or foreign file tells nothing, and is no error."""
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    assert read_snapshot(tmp_path) is None


def test_a_zombie_has_no_start() -> None:
    """A process that has ended counts as gone before its parent has asked for its exit code."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_start(process.pid) == 0
