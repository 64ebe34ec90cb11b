import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tools.stack import guardian

COMMAND = [sys.executable, "-I", "-S", guardian.__file__, "/nonexistent"]


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "/bin/sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)


def test_exit_codes_pass_through() -> None:
    """The guardian ends as its command did."""
    assert [_run("exit 0").returncode, _run("exit 7").returncode, _run("kill -9 $$").returncode] == [0, 7, 128 + 9]


def test_daemons_end_with_the_command() -> None:
    """What left its parent, its session and its process group is gone when the guardian has ended."""
    done = _run("(setsid sh -c 'setsid sleep 1000 & echo $!; exec sleep 1000' & echo $!) >&2; sleep 0.5; kill -9 $$")
    pids = [int(pid) for pid in done.stderr.split()]
    assert len(pids) == 2
    assert [psutil.pid_exists(pid) for pid in pids] == [False, False]


def test_an_orphan_ends_while_the_command_runs_on() -> None:
    """What a part leaves behind does not live on with the stack."""
    script = "(setsid sleep 1000 & echo $! >&2); read pid; while [ -d /proc/$pid ]; do sleep 0.05; done"
    with subprocess.Popen(
        [*COMMAND, "/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        orphan = process.stderr.readline()
        process.stdin.write(orphan)
        process.stdin.close()
        assert process.wait(30) == 0
        assert not psutil.pid_exists(int(orphan))


def test_only_dead_processes_lose_their_shared_memory() -> None:
    """A segment of a process that lives, and one that is named otherwise, stay."""
    with subprocess.Popen(["true"]) as ended:
        pass
    segments = {name: Path("/dev/shm", name) for name in (f"weft-test-{ended.pid}-a", f"weft-test-{os.getpid()}-a")}
    try:
        for path in segments.values():
            path.touch()
        guardian.remove_shared_memory()
        assert [path.exists() for path in segments.values()] == [False, True]
    finally:
        for path in segments.values():
            path.unlink(missing_ok=True)


def test_sockets_go_and_files_stay(tmp_path: Path) -> None:
    """A socket that nobody listens on any more is removed from a folder, and from those in it."""
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "file").touch()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(folder / "socket"))
    guardian.remove_sockets(str(tmp_path))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["file", "inner", "inner/file"]
