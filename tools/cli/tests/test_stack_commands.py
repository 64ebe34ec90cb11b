import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tools.cli.tests.lab_stack import LabStack


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabStack]:
    stack = LabStack(tmp_path / "state")
    yield stack
    stack.run("down")
    assert stack.left_processes() == []


def test_a_detached_stack_is_ready_and_goes_without_a_trace(lab: LabStack) -> None:
    """`up --detach` returns when all is ready, `status --json` says so, and `down` leaves nothing behind."""
    done = lab.run("up", "--detach")
    assert done.returncode == 0, done.stderr
    status = lab.told_status()
    assert status["ready"] is True
    assert f"The lab's door is at {lab.part('door')['address']}." in done.stdout
    assert [(part["name"], part["state"]) for part in status["parts"]] == [
        ("redis", "ready"),
        ("worker", "ready"),
        ("door", "ready"),
    ]
    assert all(psutil.pid_exists(part["pid"]) and part["memory_bytes"] > 0 for part in status["parts"])
    assert status["memory_bytes"] == status["supervisor"]["memory_bytes"] + sum(
        part["memory_bytes"] for part in status["parts"]
    )
    assert lab.run("down").returncode == 0
    lab.eventually_nothing_is_left()
    assert {part["state"] for part in lab.status()["parts"]} == {"stopped"}


@pytest.mark.parametrize("victim", ["supervisor", "guardian"])
def test_a_killed_supervisor_leaves_nothing(lab: LabStack, victim: str) -> None:
    """After kill -9 of the supervisor, or of its guardian, everything ends, `status` says so, and `up` works again."""
    supervisor = psutil.Process(lab.up()["supervisor"]["pid"])
    os.kill(supervisor.pid if victim == "supervisor" else supervisor.ppid(), signal.SIGKILL)
    lab.eventually_nothing_is_left()
    status = lab.status()
    assert (status["ready"], status["phase"], status["supervisor"]["pid"]) == (False, "stopped", None)
    assert lab.up()["ready"] is True
    lab.run("down")
    lab.eventually_nothing_is_left()


def test_a_part_that_dies_is_restarted(lab: LabStack) -> None:
    """It comes back with another pid at the same address; what it had started is ended, other parts are untouched."""
    before = {part["name"]: part for part in lab.up()["parts"]}
    orphans = psutil.Process(before["worker"]["pid"]).children()
    os.kill(before["worker"]["pid"], signal.SIGKILL)
    lab.eventually(lambda: lab.part("worker")["restarts"] == 1 and lab.status()["ready"], "the restart")
    after = {part["name"]: part for part in lab.status()["parts"]}
    assert after["worker"]["pid"] != before["worker"]["pid"]
    assert after["worker"]["address"] == before["worker"]["address"]
    assert after["worker"]["detail"] == "was killed by SIGKILL"
    assert after["door"]["pid"] == before["door"]["pid"]
    assert len(orphans) == 1
    lab.eventually(lambda: not any(orphan.is_running() for orphan in orphans), "end of what it had started")


def test_status_tells_of_a_part_that_does_not_come_back(lab: LabStack) -> None:
    """While a part cannot be started again, it is `restarting`, counted and explained; when it can, it is ready."""
    lab.up()
    refusal = lab.state / "refuse-worker"
    refusal.touch()
    os.kill(lab.part("worker")["pid"], signal.SIGKILL)
    lab.eventually(lambda: lab.part("worker")["restarts"] >= 2, "the second attempt")
    status = lab.status()
    worker = next(part for part in status["parts"] if part["name"] == "worker")
    assert (status["ready"], worker["state"], worker["pid"]) == (False, "restarting", None)
    assert "told not to start" in worker["detail"]
    assert lab.run("status").returncode == 1
    refusal.unlink()
    lab.eventually(lambda: lab.status()["ready"], "the return")


def test_a_taken_port_is_named_with_its_setting(lab: LabStack) -> None:
    """Nothing is started when a port is taken; the error says which, by whom, and which setting moves it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = lab.run("up", "--detach", WEFT_PORT_WORKER=str(port))
    assert done.returncode == 1
    expected = f"port {port} of worker is taken by pid {os.getpid()} ({psutil.Process().name()}): set WEFT_PORT_WORKER"
    assert expected in done.stderr
    assert not (lab.state / "state.json").exists()
    assert list((lab.state / "logs").iterdir()) == []


def test_a_second_up_names_the_first(lab: LabStack) -> None:
    """A state folder runs one stack at a time; the second `up` says which process holds it, and harms nothing."""
    status = lab.up()
    done = lab.run("up", "--detach")
    assert done.returncode == 1
    assert f"already running on {lab.state} (pid {status['supervisor']['pid']})" in done.stderr
    assert lab.status()["ready"] is True


def test_a_part_that_cannot_start_ends_the_start(lab: LabStack) -> None:
    """`up` fails with the last lines of the part's log, and stops what had been started."""
    lab.state.mkdir()
    (lab.state / "refuse-worker").touch()
    done = lab.run("up", "--detach")
    assert done.returncode == 1
    assert "worker ended with exit code 1" in done.stderr
    assert "told not to start" in done.stderr
    status = lab.status()
    assert status["phase"] == "failed"
    assert {part["name"]: part["state"] for part in status["parts"]} == {
        "redis": "stopped",
        "worker": "failed",
        "door": "stopped",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stack_in_the_foreground_ends_with_its_command(lab: LabStack, number: signal.Signals) -> None:
    """Ctrl-C or a kill of `up`, even -9, ends the stack cleanly."""
    with lab.start("up") as command:
        assert command.stdout is not None
        while "Ctrl-C" not in command.stdout.readline():
            assert command.poll() is None
        assert lab.status()["ready"] is True
        command.send_signal(number)
        code = command.wait(60)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    lab.eventually_nothing_is_left()
    assert lab.status()["phase"] == "stopped"


def test_a_set_up_can_be_ended(lab: LabStack) -> None:
    """While `up` still sets up, `status` says so and `down` ends it."""
    lab.state.mkdir()
    (lab.state / "slow").touch()
    with lab.start("up", "--detach") as command:
        lab.eventually(lambda: lab.told_status()["phase"] == "setting up", "the set-up")
        assert lab.run("down").returncode == 0
        assert command.wait(60) == 130
    assert lab.status()["phase"] == "stopped"


def test_two_stacks_run_side_by_side(lab: LabStack, tmp_path: Path) -> None:
    """Two state folders are two stacks; ending one leaves the other."""
    other = LabStack(tmp_path / "other")
    try:
        addresses = [part["address"] for stack in (lab, other) for part in stack.up()["parts"]]
        assert len(set(addresses)) == 6
        os.kill(lab.status()["supervisor"]["pid"], signal.SIGKILL)
        lab.eventually_nothing_is_left()
        assert other.status()["ready"] is True
    finally:
        other.run("down")
    other.eventually_nothing_is_left()


def test_logs_are_shown(lab: LabStack) -> None:
    """The last lines of all parts with their names, or of one part as they are; a part without a log is named."""
    lab.up()
    assert "redis      | " in lab.run("logs").stdout
    assert lab.run("logs", "worker", "-n", "1").stdout.startswith("grandchild ")
    assert lab.run("logs", "worker", "-n", "0").stdout == ""
    done = lab.run("logs", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are logs of door, redis, supervisor, worker" in done.stderr


def test_logs_are_followed(lab: LabStack) -> None:
    """`logs -f` shows what a part writes after the command was started."""
    lab.up()
    with lab.start("logs", "worker", "-f", "-n", "1") as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("grandchild ")
        os.kill(lab.part("worker")["pid"], signal.SIGKILL)
        assert command.stdout.readline().startswith("grandchild ")
        command.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--port", "nobody=1"), "--port: there is no part 'nobody'; parts are door, redis, worker"),
        (("--port", "door=x"), "--port door: 'x' is not a port"),
        (("--port", "door=70000"), "--port door: '70000' is not a port"),
    ],
)
def test_bad_ports_are_named(lab: LabStack, arguments: tuple[str, ...], told: str) -> None:
    """A port that is none, or of no part, is refused by the name of its setting."""
    done = lab.run("up", *arguments)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_a_state_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """`--state` on a file, or where nothing can be made, is an error that says what to give instead."""
    (tmp_path / "file").touch()
    for state, told in ((tmp_path / "file", "is not a folder"), (Path("/proc/weft"), "cannot write to /proc/weft")):
        done = LabStack(state).run("up")
        assert (done.returncode, told in done.stderr, "--state" in done.stderr) == (1, True, True), done.stderr
