"""`weft mesh`: what its user reads who gets it wrong, and what a drill is said to be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools.cli.__main__ import app
from tools.cli.mesh_faults import told
from tools.localmesh.drills import drills, fault_of, written_are_on
from tools.localmesh.workloads import BASE
from tools.stack.mesh import FOLDER, RULES
from tools.stack.snapshot import PartSnapshot, Snapshot, process_start, write_snapshot

INFERENCE = "inference.weft.svc.cluster.local"
LATER = 4102444800
"""When a controller told what became of a change: after any that a test makes."""


def weft(*arguments: str) -> tuple[int, str, str]:
    """The exit code, the standard output and the standard error of a command."""
    done = CliRunner().invoke(app, ["mesh", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a stack that says it runs with a mesh, by this very process."""
    (tmp_path / FOLDER).mkdir()
    parts = (PartSnapshot("envoy", "127.0.0.1:7700", "ready"),)
    pid = os.getpid()
    write_snapshot(tmp_path, Snapshot(pid, process_start(pid), "module", "up", parts=parts))
    return tmp_path


@pytest.mark.parametrize("command", [["status"], ["faults"], ["faults", "off"], ["explain", "a.B/C"]])
def test_without_a_stack_there_is_no_mesh(tmp_path: Path, command: list[str]) -> None:
    """Each command says so, and what starts one."""
    expected = f"weft: no stack is running on {tmp_path}: start it with `weft up`\n"
    assert weft(*command, "--state", str(tmp_path)) == (1, "", expected)


def test_a_stack_without_a_mesh_is_told(state: Path) -> None:
    """It was asked for."""
    pid = os.getpid()
    write_snapshot(state, Snapshot(pid, process_start(pid), "module?mesh=no", "up"))
    expected = f"weft: the stack on {state} was started without the mesh: leave --no-mesh\n"
    assert weft("status", "--state", str(state)) == (1, "", expected)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--delay", "1s"], "whose calls? --to names the service"),
        (["--to", "infrence", "--delay", "1s"], "no calls in the mesh go to 'infrence'; do you mean inference?"),
        (["--to", "inference"], "a drill needs a delay (--delay 1s), an abort (--abort UNAVAILABLE), or both"),
        (["--to", "inference", "--delay", "1"], "--delay '1' is not a duration: write 250ms, 1s or 2m"),
        (["--to", "inference", "--delay", "0s"], "a delay of 0 s is not within 0.001 to 600"),
        (["--to", "inference", "--delay", "1s", "--percent", "200"], "200 percent of the calls is not within"),
        (["--to", "inference", "--abort", "BROKEN"], "'BROKEN' is no gRPC status to fail with"),
        (["--to", "inference", "--abort", "200"], "200 is no HTTP status to fail with: those are 400 to 599"),
        (["of"], "'of' is nothing to do with faults: write on or off, or options that begin a drill"),
        (["on", "--to", "inference"], "on takes no options: leave them, or leave on"),
        (["off", "--to", "rag"], "off takes no options: leave them, or leave off"),
    ],
)
def test_what_is_no_drill_is_refused(state: Path, options: list[str], wrong: str) -> None:
    """With what is wrong, exit code 2, and nothing changed."""
    code, printed, error = weft("faults", *options, "--state", str(state))
    assert (code, printed, error.startswith(f"weft: {wrong}")) == (2, "", True), error
    assert drills(state / FOLDER) == {}


def test_drills_come_and_go(state: Path) -> None:
    """What is on is told, and kept where the controller follows it."""
    shown = ("--state", str(state))
    delayed = f"Of calls to {INFERENCE} 10% begin 0.25 s late."
    code, printed, _ = weft("faults", "--to", "inference", "--delay", "250ms", "--percent", "10", *shown)
    assert (code, printed) == (0, f"{delayed}\n`weft mesh faults off` ends it.\n")
    assert weft("faults", *shown) == (0, f"{delayed}\n", "")
    assert drills(state / FOLDER) == {INFERENCE: fault_of(delay_s=0.25, percent=10)}
    assert weft("faults", "off", *shown) == (0, "No drill is on.\n", "")
    assert drills(state / FOLDER) == {}


def test_the_written_faults_come_and_go(state: Path) -> None:
    """They are asked for as a whole, and told while they are on."""
    shown = ("--state", str(state))
    on = "The faults of mesh/faults are on.\n"
    assert weft("faults", "on", *shown) == (0, f"{on}`weft mesh faults off` ends it.\n", "")
    assert weft("faults", *shown) == (0, on, "")
    told = {"pid": 1, "edge": "127.0.0.1:1", "rules_folder": "/rules", "base_folder": "k8s/base", "rules": "in force"}
    (state / FOLDER / "status.json").write_text(
        json.dumps({**told, "since": LATER, "problems": [], "ready": [], "drills": []})
    )
    (state / FOLDER / "pods.json").write_text("[]")
    assert on in weft("status", *shown)[1]
    assert weft("faults", "off", *shown) == (0, "No drill is on.\n", "")
    assert on not in weft("status", *shown)[1]
    assert not written_are_on(state / FOLDER)


def test_what_the_rules_leave_open_is_told(state: Path, tmp_path: Path) -> None:
    """A file that is left out, and calls that come in without mutual TLS: a line each, and none for the rules as they
    are."""
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    told = {"pid": 1, "edge": "127.0.0.1:1", "rules_folder": str(rules), "base_folder": str(BASE), "since": LATER}
    (state / FOLDER / "status.json").write_text(json.dumps({**told, "problems": [], "ready": [], "drills": []}))
    (state / FOLDER / "pods.json").write_text("[]")
    shown = ("status", "--json", "--state", str(state))
    assert json.loads(weft(*shown)[1])["rules"]["notes"] == []
    for file, old, new in (
        ("kustomization.yaml", "  - authorization.yaml\n", ""),
        ("identity.yaml", "mode: STRICT", "mode: PERMISSIVE"),
    ):
        (rules / file).write_text((rules / file).read_text().replace(old, new))
    left_out, open_one = json.loads(weft(*shown)[1])["rules"]["notes"]
    assert left_out == f"{rules}/authorization.yaml is not in force: kustomization.yaml does not list it"
    assert open_one.startswith(f"Mutual TLS is PERMISSIVE ({rules}/identity.yaml:")
    assert open_one.endswith("inference, inference-gpu, triton, triton-gpu")
    assert left_out in weft("status", "--state", str(state))[1]


def test_a_drill_that_is_not_in_force_is_told(state: Path) -> None:
    """The command waits for what became of it: rules that are refused keep a drill out, and one that is on."""
    problem = {"file": "mesh/a.yaml", "line": 1, "field": "", "text": "wrong", "message": "mesh/a.yaml:1: wrong"}
    told = {"pid": 1, "edge": "127.0.0.1:1", "rules_folder": "/rules", "base_folder": "k8s/base", "rules": "refused"}
    (state / FOLDER / "status.json").write_text(
        json.dumps({**told, "since": LATER, "problems": [problem], "ready": [], "drills": []})
    )
    code, printed, error = weft("faults", "on", "--state", str(state))
    assert (code, printed, error) == (1, "", "weft: that is not in force:\n  mesh/a.yaml:1: wrong\n")


def test_all_of_a_drill_is_told() -> None:
    """Delay and abort, statuses of gRPC and of HTTP."""
    both = fault_of(delay_s=2, abort="UNAVAILABLE", percent=0.5)
    assert told("rag", both) == "Of calls to rag 0.5% begin 2 s late, and 0.5% end with UNAVAILABLE."
    assert told("rag", fault_of(abort="503", percent=100)) == "Of calls to rag 100% end with HTTP 503."


def test_a_mesh_that_has_told_nothing_is_told(state: Path) -> None:
    """Its log says why."""
    assert weft("status", "--state", str(state)) == (
        1,
        "",
        "weft: the mesh has told nothing yet: see `weft logs mesh`\n",
    )
    code, _, error = weft("explain", "weft.rag.v1.SearchService/Nothing", "--state", str(state))
    assert (code, "no contract has a method" in error, "SearchService" in error) == (2, True, True)


def test_refused_rules_are_shown(state: Path) -> None:
    """Every problem with its place, in the status of the mesh; the exit code is 1."""
    message = "mesh/routing.yaml:12: spec.http[0].timeout: '1x' is no duration"
    problem = {"file": "mesh/routing.yaml", "line": 12, "field": "spec", "text": "no duration", "message": message}
    told = {"pid": 1, "edge": "127.0.0.1:1", "rules_folder": "/rules", "base_folder": "k8s/base", "rules": "refused"}
    (state / FOLDER / "status.json").write_text(
        json.dumps({**told, "since": 0, "problems": [problem], "ready": [], "drills": []})
    )
    (state / FOLDER / "pods.json").write_text("[]")
    code, printed, _ = weft("status", "--state", str(state))
    refused = "Rules of /rules were refused at 1970-01-01T00:00:00Z, and those before them stay in force:"
    assert (code, printed.splitlines()[:2]) == (1, [refused, f"  {message}"])
    code, printed, _ = weft("status", "--json", "--state", str(state))
    assert (code, json.loads(printed)["rules"]["problems"]) == (1, [problem])
