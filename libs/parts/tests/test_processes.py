import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from libs.parts import tether
from libs.parts.processes import PartError, RunningPart, free_port, python_environment, start_part, wait_until

LONG = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = """
import sys, time, pathlib
from libs.parts.processes import start_part, wait_until
part = start_part("child", sys.argv[2:], log=pathlib.Path(sys.argv[1]))
wait_until(part, lambda: "up" in part.written(), 10)
print(part.pid, flush=True)
time.sleep(600)
"""


def up(part: RunningPart) -> RunningPart:
    wait_until(part, lambda: "up" in part.written(), 10)
    return part


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_a_child_is_killed_when_its_parent_is_killed(tmp_path: Path) -> None:
    """kill -9 of the parent ends the child at once, although nobody could clean up."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log"), *LONG]
    environment = os.environ | python_environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    assert gone(child)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """A part may be started from a thread that ends: only the end of the process ends the part."""
    started: list[RunningPart] = []
    thread = threading.Thread(target=lambda: started.append(up(start_part("child", LONG, log=tmp_path / "log"))))
    thread.start()
    thread.join()
    (part,) = started
    with pytest.raises(subprocess.TimeoutExpired):
        part.process.wait(0.3)
    assert part.running()
    assert part.stop() == -signal.SIGTERM
    assert not part.running()


def test_a_child_whose_parent_died_before_it_was_tied_does_not_run() -> None:
    """A program whose parent is not the one it was to be tied to never starts."""
    command = [sys.executable, "-I", "-S", tether.__file__, "0", "9", "echo", "ran"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")


def test_stop_kills_what_ignores_it_and_what_it_left(tmp_path: Path) -> None:
    """After the grace period the whole process group is killed, grandchildren included."""
    script = "trap '' TERM; sleep 600 & echo $! up; while true; do sleep 1; done"
    part = up(start_part("stubborn", ["bash", "-c", script], log=tmp_path / "log"))
    grandchild = int(part.written().split()[0])
    assert part.stop(grace_s=0.2) == -signal.SIGKILL
    assert gone(grandchild)


def test_a_part_that_ends_fails_at_once_with_its_last_words(tmp_path: Path) -> None:
    """Waiting for a part that has ended fails long before the deadline, with its exit code and this start's output."""
    log = tmp_path / "log"
    log.write_text("an earlier start\n")
    part = start_part("broken", ["bash", "-c", "echo no such luck >&2; exit 3"], log=log)
    with pytest.raises(PartError) as caught:
        wait_until(part, lambda: None, within_s=60)
    assert str(caught.value) == f"broken ended with exit code 3; its log {log} ends with\nno such luck"


def test_a_part_that_is_late_is_stopped(tmp_path: Path) -> None:
    """At the deadline the part is stopped, and the error says how long it was given."""
    part = start_part("slow", LONG, log=tmp_path / "log")
    with pytest.raises(PartError, match=r"slow was not ready within 0\.1 s"):
        wait_until(part, lambda: None, within_s=0.1)
    assert not part.running()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """A program that is not there is named, not a traceback."""
    part = start_part("absent", ["/no/such/program"], log=tmp_path / "log")
    with pytest.raises(PartError, match="cannot run /no/such/program: No such file"):
        wait_until(part, lambda: None, within_s=10)


def test_a_free_port_can_be_listened_on() -> None:
    """The port answered is a loopback port that can be bound."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
