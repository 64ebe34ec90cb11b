"""What the ledger's answer makes of a call, and what is done where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.contracts.policies import Cost
from libs.errors.errors import Reason, ResourceExhaustedError, UnavailableError
from libs.telemetry import metrics
from services.gateway.ports import Outcome, Rate, Verdict
from services.gateway.tests.desk import CHARGED, STANDARD, Desk
from services.gateway.tests.fakes import COST, METHOD, TENANT_LIMIT, plan, plans


async def test_the_allowance_travels_in_the_context() -> None:
    """What the ledger granted is what the services are told; without a budget there is no bound."""
    assert (await Desk(plans(STANDARD), Verdict(Outcome.ADMITTED, 42)).call()).context.allowance_tokens == 42
    assert (await Desk(plans(STANDARD)).call()).context.allowance_tokens is None


async def test_the_answer_tells_the_nearest_limit() -> None:
    """Limit, remaining and reset are on the answer in the standard names."""
    desk = Desk(plans(STANDARD), Verdict(Outcome.ADMITTED, rate=Rate(100, 41, 7)))
    await desk.call()
    assert desk.told == [("ratelimit-limit", "100"), ("ratelimit-remaining", "41"), ("ratelimit-reset", "7")]


async def test_over_a_limit() -> None:
    """RATE_LIMITED names the limit and says when to come back; the limit's state is on the answer as well."""
    verdict = Verdict(Outcome.RATE_LIMITED, rate=Rate(50, 0, 7), refused_by="read/minute", retry_after_s=6.5)
    desk = Desk(plans(STANDARD), verdict)
    refused = await desk.refusal()
    assert isinstance(refused, ResourceExhaustedError)
    assert (refused.reason, refused.metadata) == (Reason.RATE_LIMITED, {"limit": "read/minute"})
    assert (refused.retry_after_s, desk.told[1]) == (6.5, ("ratelimit-remaining", "0"))


async def test_over_a_budget() -> None:
    """BUDGET_EXHAUSTED names the budget, when its period ends, and when another attempt is worth it."""
    verdict = Verdict(
        Outcome.BUDGET_EXHAUSTED, refused_by="key/day/tokens", retry_after_s=2.0, reset_unix_s=1_700_006_400.0
    )
    refused = await Desk(plans(STANDARD), verdict).refusal(method=CHARGED)
    assert isinstance(refused, ResourceExhaustedError)
    assert (refused.reason, refused.retry_after_s) == (Reason.BUDGET_EXHAUSTED, 2.0)
    assert refused.metadata == {"budget": "key/day/tokens", "reset_time": "2023-11-15T00:00:00Z"}


async def test_without_the_ledger_budgets_are_closed() -> None:
    """A call that would be charged to a budget is refused while the ledger is not reached: none ever goes over."""
    closed = metrics.value("weft_gateway_ledger_unreached_total", calls="closed")
    refused = await Desk(plans(STANDARD), None).refusal(method=CHARGED)
    assert isinstance(refused, UnavailableError)
    assert (refused.reason, refused.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "redis"})
    assert metrics.value("weft_gateway_ledger_unreached_total", calls="closed") == closed + 1


@pytest.mark.parametrize("cost", [None, COST])
async def test_without_the_ledger_limits_are_open(cost: Cost | None) -> None:
    """Calls that no budget bounds go on while the ledger is not reached, and nothing is said of limits."""
    opened = metrics.value("weft_gateway_ledger_unreached_total", calls="open")
    desk = Desk(plans(plan(tenant_limits=(TENANT_LIMIT,))), None)
    assert (await desk.call(method=replace(METHOD, cost=cost))).context.allowance_tokens is None
    assert desk.told == []
    assert metrics.value("weft_gateway_ledger_unreached_total", calls="open") == opened + 1


async def test_a_call_without_a_cost_goes_on_without_the_ledger() -> None:
    """A tenant with budgets may still make calls that are not charged."""
    assert (await Desk(plans(STANDARD), None).call()).context.tenant == "acme"
