"""A stack has a settings file of its own, which its owner may change."""

from pathlib import Path

import pytest

from libs.plans.file import load
from libs.plans.plans import RateLimit
from tools.stack.part import Stack, StackError
from tools.stack.plans import ensure_plans, plans_file


def test_a_first_settings_file_lets_the_developer_work(tmp_path: Path) -> None:
    """Tenant local has no limits and no budgets; others have the documented defaults; models have prices."""
    stack = Stack(tmp_path, {})
    ensure_plans(stack)
    plans = load(plans_file(stack))
    local, other = plans.of("local"), plans.of("other")
    assert local is not None
    assert other is not None
    assert (local.name, local.tenant_limits, local.key_limits, dict(local.group_limits)) == ("developer", (), (), {})
    assert (local.tenant_budgets, local.highest_priority, local.may_fall_back) == ((), "high", True)
    assert other.tenant_limits == (RateLimit("tenant/minute", 100, 60), RateLimit("tenant/hour", 1000, 3600))
    assert set(plans.prices.models) == {"generate", "embed"}
    assert plans.prices.other.output_nanos == 3000


def test_what_its_comments_propose_is_right(tmp_path: Path) -> None:
    """The lines that are commented out are good where they stand."""
    stack = Stack(tmp_path, {})
    ensure_plans(stack)
    text = plans_file(stack).read_text()
    for proposed in ("  #   ", "  # acme"):
        assert proposed in text
        text = text.replace(proposed, proposed.replace("# ", "", 1))
    text = text.replace("    limits:\n      tenant: {minute: 100", "    limits:\n      tenant: {minute: 101")
    plans_file(stack).write_text(text)
    standard = load(plans_file(stack)).plans["standard"]
    assert (standard.tenant_limits[0].limit, len(standard.tenant_budgets), standard.open_calls) == (101, 3, 100)


def test_a_settings_file_that_is_there_stays(tmp_path: Path) -> None:
    """A second start keeps what the owner has written."""
    stack = Stack(tmp_path, {})
    plans_file(stack).write_text("plans: {own: {}}\n")
    ensure_plans(stack)
    assert plans_file(stack).read_text() == "plans: {own: {}}\n"


def test_a_spoilt_settings_file_is_no_start(tmp_path: Path) -> None:
    """All that is wrong is told before anything is started."""
    stack = Stack(tmp_path, {})
    plans_file(stack).write_text("plans:\n  own: {open_calls: many}\n  other: {limit: none}\n")
    with pytest.raises(StackError) as caught:
        ensure_plans(stack)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0].strip() for line in lines] == [
        "the settings file is wrong:",
        f"{plans_file(stack)}:2",
        f"{plans_file(stack)}:3",
    ]
