"""How `weft status` shows which settings and which rules of the mesh are in force."""

import json
from pathlib import Path

import pytest

from tools.cli.stack_status import show_rules, show_settings
from tools.stack.mesh import FOLDER, STATUS, MeshState, mesh_state
from tools.stack.settings_state import SettingsState

PROBLEM = "plans.yaml:2: plans.gold: is empty; write `{}`, or take it away"
TOLD = SettingsState("/conf/plans.yaml", "929f648a6010", "2023-11-14T22:13:20+00:00", (PROBLEM,))


def test_a_refused_file_is_shown_with_its_problems(capsys: pytest.CaptureFixture[str]) -> None:
    """The version in force first, then what is wrong; of a good file, the first line alone."""
    show_settings(TOLD)
    first = f"Settings {TOLD.version} of {TOLD.file}, in force since {TOLD.load_time}"
    refused = "The file as it is now was refused, and these stay in force:"
    assert capsys.readouterr().out.splitlines() == [first, refused, f"  {PROBLEM}"]
    show_settings(SettingsState(TOLD.file, TOLD.version, TOLD.load_time, ()))
    assert capsys.readouterr().out.splitlines() == [first]


def test_refused_rules_are_shown_with_their_problems(capsys: pytest.CaptureFixture[str]) -> None:
    """As a settings file is: of good rules, one line."""
    show_rules(MeshState("/rules", 0.0, (PROBLEM,)))
    refused = "Rules of /rules were refused at 1970-01-01T00:00:00Z, and those before them stay in force:"
    assert capsys.readouterr().out.splitlines() == [refused, f"  {PROBLEM}"]
    show_rules(MeshState("/rules", 0.0, ()))
    assert capsys.readouterr().out.splitlines() == ["Rules of /rules, in force since 1970-01-01T00:00:00Z"]


def test_a_mesh_tells_of_its_rules(tmp_path: Path) -> None:
    """By the file that its controller writes; nothing where there is none, or another's."""
    assert mesh_state(tmp_path) is None
    (tmp_path / FOLDER).mkdir()
    told = {"rules_folder": "/rules", "since": 1.5, "problems": [{"message": PROBLEM}], "drills": ["rag"]}
    (tmp_path / FOLDER / STATUS).write_text(json.dumps(told))
    assert mesh_state(tmp_path) == MeshState("/rules", 1.5, (PROBLEM,), ("rag",))
    (tmp_path / FOLDER / STATUS).write_text("[]")
    assert mesh_state(tmp_path) is None
