"""`weft restart` over the lab's stack of real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.cli.tests.lab_stack import LabStack

MakeLab = Callable[[str], LabStack]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeLab]:
    """Stacks with these options, which end with the test."""
    made: list[LabStack] = []

    def lab(options: str) -> LabStack:
        made.append(LabStack(tmp_path / "state", options))
        made[-1].up()
        return made[-1]

    yield lab
    for stack in made:
        stack.run("down")
        assert stack.left_processes() == []


def parts(lab: LabStack) -> dict[str, tuple[int, str, int]]:
    """Process, address and restarts, by part."""
    return {part["name"]: (part["pid"], part["address"], part["restarts"]) for part in lab.status()["parts"]}


def test_replicas_are_restarted_one_after_the_other(make: MakeLab) -> None:
    """Each is another process at its old address, which counts as no failure; the rest of the stack stays."""
    lab = make("twins")
    before = parts(lab)
    done = lab.run("restart", "door")
    after = parts(lab)
    assert (done.returncode, done.stdout) == (0, "restarted door, door-2\n"), done.stderr
    assert done.stderr.splitlines() == ["restarting door", "restarting door-2"]
    for name, (pid, address, restarts) in after.items():
        assert (address, restarts) == before[name][1:]
        assert (pid == before[name][0]) == (not name.startswith("door"))
    assert lab.status()["ready"] is True


def test_one_replica_is_restarted_by_its_own_name(make: MakeLab) -> None:
    """The others are left alone."""
    lab = make("twins")
    before = parts(lab)
    assert lab.run("restart", "door-2").stdout == "restarted door-2\n"
    after = parts(lab)
    assert {name for name in after if after[name] != before[name]} == {"door-2"}


def test_an_only_replica_has_a_stand_in(make: MakeLab) -> None:
    """It is there while the replica is restarted, and gone afterwards."""
    lab = make("stand-in")
    before = parts(lab)
    done = lab.run("restart", "door")
    after = parts(lab)
    assert (done.returncode, done.stdout) == (0, "restarted door\n"), done.stderr
    told = ["restarting door: door-2 is started to stand in for it", "restarting door: door-2 stands in for it"]
    assert done.stderr.splitlines() in (told, told[1:])  # it looks now and then
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"door"}


def test_a_stand_in_that_does_not_start_changes_nothing(make: MakeLab) -> None:
    """The replica goes on as it was; the error is the stand-in's."""
    lab = make("stand-in")
    before = parts(lab)
    (lab.state / "refuse-door-2").touch()
    done = lab.run("restart", "door")
    assert (done.returncode, "door-2 ended with exit code 1" in done.stderr) == (1, True), done.stderr
    assert parts(lab) == before


def test_what_nobody_answers_for_is_restarted_by_force_only(make: MakeLab) -> None:
    """An only replica without a stand-in, and a part that has none."""
    lab = make("")
    before = parts(lab)
    for name, what in (("door", "the only replica of door"), ("redis", "one process")):
        done = lab.run("restart", name)
        told = f"weft: {name} is {what}: calls would fail while it is restarted; --force restarts it all the same\n"
        assert (done.returncode, done.stderr) == (1, told)
    assert parts(lab) == before
    assert lab.run("restart", "redis", "--force").returncode == 0
    assert {name for name, part in parts(lab).items() if part != before[name]} == {"redis"}


def test_what_a_restart_means_is_told(make: MakeLab) -> None:
    """Of a part that needs no other to answer for it."""
    done = make("").run("restart", "worker")
    assert (done.returncode, done.stderr) == (0, "restarting worker: the door stays\n")


def test_a_replica_that_is_late_is_waited_for(make: MakeLab) -> None:
    """The next is not restarted before it is back: the restart policy goes on trying."""
    lab = make("twins")
    before = parts(lab)
    (lab.state / "refuse-door").touch()
    with lab.start("restart", "door") as command:
        lab.eventually(lambda: lab.part("door")["restarts"] >= 1, "an attempt")
        (lab.state / "refuse-door").unlink()
        assert command.wait(60) == 0
    assert lab.status()["ready"] is True
    assert parts(lab)["door-2"][0] != before["door-2"][0]


def test_names_and_states_that_are_wrong_are_told(make: MakeLab, tmp_path: Path) -> None:
    """A service that is not there, a stack that does not run, and a second restart while one is under way."""
    lab = make("twins")
    told = lab.run("restart", "dor")
    assert (told.returncode, told.stderr) == (
        1,
        "weft: there is no service 'dor' here; there are redis, worker, door\n",
    )
    (lab.state / "refuse-door").touch()
    with lab.start("restart", "door") as first:
        lab.eventually(lambda: lab.part("door")["restarts"] >= 1, "an attempt")
        told = lab.run("restart", "worker")
        (lab.state / "refuse-door").unlink()
        assert first.wait(60) == 0
    assert (told.returncode, told.stderr) == (1, "weft: another restart is under way: wait for its end\n")
    other = LabStack(tmp_path / "other")
    other.state.mkdir()
    assert "is not running: start it with `weft up`" in other.run("restart", "door").stderr


def test_a_request_is_its_owners(make: MakeLab) -> None:
    """Nobody else can read it; what is no request is taken away."""
    lab = make("twins")
    (lab.state / "refuse-door").touch()
    with lab.start("restart", "door") as command:
        lab.eventually(lambda: lab.part("door")["restarts"] >= 1, "an attempt")
        file = lab.state / "request.json"
        assert (file.stat().st_mode & 0o777, json.loads(file.read_text())["parts"]) == (0o600, ["door", "door-2"])
        (lab.state / "refuse-door").unlink()
        assert command.wait(60) == 0
    file.write_text("nonsense")
    lab.eventually(lambda: not file.exists(), "its end")
    assert lab.run("restart", "door-2").returncode == 0
