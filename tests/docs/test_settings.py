"""The guide to the settings file is right: its example is read, and it has every setting with its default."""

import re
from pathlib import Path

import pytest

from libs.plans.file import load
from libs.plans.levels import DEFAULTS
from libs.plans.schema import file_schema, limit_groups, plan_leaves
from tools.stack.explained import Level

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()


def test_the_example_is_a_good_file(tmp_path: Path) -> None:
    """It says something under every heading that a file can have."""
    (found,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    path = tmp_path / "plans.yaml"
    path.write_text(found)
    plans = load(path)
    assert set(re.findall(r"^(\w+):", found, re.MULTILINE)) == set(file_schema().parts)
    acme = plans.of("acme")
    assert acme is not None
    assert (acme.name, acme.tenant_limits[0].limit, acme.tenant_limits[1].limit) == ("gold", 500, 1000)


def test_every_limit_group_is_named() -> None:
    """The contracts' groups, and no others."""
    (row,) = (line for line in GUIDE.splitlines() if line.startswith("| `limits.groups."))
    assert set(re.findall(r"`([a-z]+)`", row)) == set(limit_groups())


@pytest.mark.parametrize("name", sorted({leaf[0] for leaf in plan_leaves()} - {"limits", "budgets"}))
def test_every_default_is_told(name: str) -> None:
    """As it is built in."""
    (row,) = (line for line in GUIDE.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.split("|")[2].strip(" `") == DEFAULTS.said[(name,)].text


def test_the_order_of_precedence_is_told() -> None:
    """The levels of the table are those of `weft config`, in their order."""
    rows = re.findall(
        r"^\| ([a-z :-]+) \| .* \|$", GUIDE.partition("## Precedence")[2].partition("## The file")[0], re.MULTILINE
    )
    assert rows[1:] == [level.value for level in Level]
