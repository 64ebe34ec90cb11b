"""What the ledger is asked for a call: under which limits and budgets, and how much at the worst."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.contracts import headers
from libs.contracts.headers import MAX_TOKENS_LIMIT
from libs.contracts.policies import Cost
from libs.errors.errors import Reason
from services.gateway.ports import Worst
from services.gateway.tests.desk import CHARGED, KIM, NOW_S, STANDARD, Desk
from services.gateway.tests.fakes import (
    GROUP_LIMIT,
    KEY_BUDGET,
    KEY_LIMIT,
    METHOD,
    TENANT_BUDGET,
    TENANT_LIMIT,
    plan,
    plans,
)


@pytest.mark.parametrize("value", ["-1", "0", str(MAX_TOKENS_LIMIT + 1), "99999999999999999999", "1e3", " 7", "\u0667"])
async def test_a_cap_that_cannot_be_meant_is_refused(value: str) -> None:
    """Negative and huge bounds on tokens reserve nothing: the call is refused by the header's name."""
    desk = Desk(plans(STANDARD))
    refused = await desk.refusal({headers.MAX_TOKENS: value}, method=CHARGED)
    assert (refused.reason, refused.metadata) == (Reason.HEADER_INVALID, {"header": headers.MAX_TOKENS})
    assert desk.admissions.demands == []


async def test_the_ledger_is_asked_for_the_worst_case() -> None:
    """Input by the request's length, output by the method's cap; under the plan's limits and budgets."""
    desk = Desk(plans(STANDARD))
    await desk.call(method=CHARGED, request=b"x" * 50, within_s=30.0)
    (demand,) = desk.admissions.demands
    assert (demand.tenant, demand.key, demand.call_id) == ("acme", "kim", "id-1")
    assert (demand.method, demand.limit_group) == (METHOD.path, "read")
    assert demand.worst == Worst(input_tokens=2 * 50 + 10, output_tokens=100)
    assert demand.limits == (TENANT_LIMIT, KEY_LIMIT, GROUP_LIMIT)
    assert demand.budgets == (TENANT_BUDGET, KEY_BUDGET)
    assert (demand.lease_s, demand.look, demand.counts) == (40.0, None, True)


@pytest.mark.parametrize(("wished", "output"), [("7", 7), ("100", 100), (str(MAX_TOKENS_LIMIT), 100)])
async def test_a_cap_of_the_callers_lessens_what_is_reserved(wished: str, output: int) -> None:
    """The smaller of the caller's cap and the method's is the most that is written."""
    desk = Desk(plans(STANDARD))
    await desk.call({headers.MAX_TOKENS: wished}, method=CHARGED)
    assert desk.admissions.demands[0].worst == Worst(20, output)


async def test_a_cap_that_nobody_enforces_reserves_no_less() -> None:
    """Of a method that is charged by bytes the caller's cap cannot be enforced: the method's own is reserved."""
    by_bytes = replace(METHOD, cost=Cost(0, 16, 1000, 4))
    desk = Desk(plans(STANDARD))
    await desk.call({headers.MAX_TOKENS: "1"}, method=by_bytes, request=b"x" * 9)
    assert desk.admissions.demands[0].worst == Worst(16 + 3, 1000)


async def test_a_stream_reserves_without_its_request() -> None:
    """Where the caller streams, the method's own bound on input is all there is."""
    desk = Desk(plans(STANDARD))
    await desk.call(method=CHARGED, request=None)
    assert desk.admissions.demands[0].worst == Worst(10, 100)


async def test_a_method_without_a_cost_reserves_nothing() -> None:
    """It is counted against the limits all the same."""
    desk = Desk(plans(STANDARD))
    await desk.call()
    assert (desk.admissions.demands[0].worst, desk.admissions.demands[0].limits[0]) == (None, TENANT_LIMIT)


async def test_a_keys_plan_narrows_its_tenants() -> None:
    """The tenant's limits and budgets always hold; the key's own are its plan's; the lower priority counts, and another
    model stands in only where both plans say so."""
    own = plan(
        "own",
        tenant_limits=(replace(TENANT_LIMIT, limit=1_000_000),),
        key_limits=(replace(KEY_LIMIT, limit=3),),
        group_limits={"read": ()},
        key_budgets=(replace(KEY_BUDGET, limit=5),),
        highest_priority="low",
        may_fall_back=False,
    )
    desk = Desk(plans(STANDARD, own), key=replace(KIM, plan="own"))
    context = (await desk.call({headers.PRIORITY: "high"}, token="key")).context
    (demand,) = desk.admissions.demands
    assert demand.limits == (TENANT_LIMIT, replace(KEY_LIMIT, limit=3), GROUP_LIMIT)
    assert demand.budgets == (TENANT_BUDGET, replace(KEY_BUDGET, limit=5))
    assert (context.priority, context.may_fall_back) == ("low", False)


async def test_a_keys_plan_lifts_nothing() -> None:
    """What the tenant's plan says of every key holds for one whose own plan says more, or nothing."""
    for own in (
        plan("own", key_limits=(replace(KEY_LIMIT, limit=10**6),), key_budgets=(replace(KEY_BUDGET, limit=10**9),)),
        plan("own"),
    ):
        desk = Desk(plans(STANDARD, own), key=replace(KIM, plan="own"))
        await desk.call(token="key")
        (demand,) = desk.admissions.demands
        assert (KEY_LIMIT in demand.limits, KEY_BUDGET in demand.budgets) == (True, True)
        assert (len(demand.limits), len(demand.budgets)) == (3, 2)


async def test_a_plan_that_is_exchanged_holds_for_the_next_call() -> None:
    """Settings reload without a restart: nothing of the old file is remembered, were the plan itself as before."""
    desk = Desk(plans(STANDARD))
    await desk.call()
    before = desk.plans.current
    desk.plans.exchange(replace(before, prices=replace(before.prices, version="newer")))
    await desk.call()
    assert [demand.prices.version for demand in desk.admissions.demands] == [before.prices.version, "newer"]
    desk.plans.exchange(plans(plan(tenant_limits=(replace(TENANT_LIMIT, limit=1),), may_fall_back=False)))
    assert not (await desk.call()).context.may_fall_back
    assert [demand.limits[0].limit for demand in desk.admissions.demands] == [100, 100, 1]


async def test_a_call_that_never_began_is_refunded() -> None:
    """What was reserved for it is free again; where nothing was reserved there is nothing to give back."""
    desk = Desk(plans(STANDARD))
    admission = await desk.call(method=CHARGED)
    desk.admit.never_began(admission)
    desk.admit.never_began(await desk.call())
    assert desk.admissions.refunded == [("acme", admission.context.call_id)]


async def test_a_clock_that_steps_changes_no_lease() -> None:
    """A reservation lasts as long as the call has, from when it is made: the wall clock's value is of no account, and a
    deadline that a step has put into the past leaves the margin."""
    desk = Desk(plans(STANDARD))
    for now_s, deadline_s in ((0.0, 10.0), (4e9, 4e9 + 10), (NOW_S + 3600, NOW_S + 10)):
        caller = await desk.admit.identify(CHARGED, {headers.AUTHORIZATION: "Bearer good"}, NOW_S)
        await desk.admit.admit(caller, b"", deadline_s, now_s, [])
        desk.admit.left(caller)
    assert [demand.lease_s for demand in desk.admissions.demands] == [20.0, 20.0, 10.0]
