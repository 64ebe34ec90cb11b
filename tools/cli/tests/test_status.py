"""How `weft status` shows which settings are in force."""

import pytest

from tools.cli.stack_status import show_settings
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
