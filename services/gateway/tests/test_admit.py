"""Which call may be made, for whom, how urgent and with what allowance, decided without a transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from libs.auth.context import CallContext
from libs.auth.tokens import Principal
from libs.contracts import headers
from libs.contracts.headers import MAX_TOKENS_LIMIT
from libs.contracts.policies import Cost, Method
from libs.errors.errors import (
    InvalidArgumentError,
    PermissionDeniedError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)
from libs.plans.plans import Plans
from libs.telemetry import metrics
from services.gateway.app.admit import Admission, Admit
from services.gateway.app.answers import Answers
from services.gateway.app.bounds import Bounds
from services.gateway.app.ledger import Ledger
from services.gateway.app.terms import TermsInForce
from services.gateway.ports import Outcome, Rate, Verdict, Worst
from services.gateway.tests.fakes import (
    COST,
    GROUP_LIMIT,
    KEY_BUDGET,
    KEY_LIMIT,
    METHOD,
    TENANT_BUDGET,
    TENANT_LIMIT,
    AnswersInMemory,
    KnownTokens,
    PlansFixed,
    ToldAdmissions,
    plan,
    plans,
)

NOW_S = 1_700_000_000.0
CHARGED = replace(METHOD, cost=COST)
KIM = Principal(subject="kim", tenant="acme", scopes=frozenset({"shop.read", "shop.list"}), expire_time_s=NOW_S + 60)
STANDARD = plan(
    tenant_limits=(TENANT_LIMIT,),
    key_limits=(KEY_LIMIT,),
    group_limits={"read": (GROUP_LIMIT,)},
    tenant_budgets=(TENANT_BUDGET,),
    key_budgets=(KEY_BUDGET,),
)


class Desk:
    """An `Admit` and what it was told by; `told` is what the last call's answer says."""

    def __init__(self, settings: Plans, *verdicts: Verdict | None, **principals: Principal) -> None:
        self.admissions = ToldAdmissions(*verdicts)
        self.plans = PlansFixed(settings)
        self.told: list[tuple[str, str]] = []
        ids = iter(f"id-{number}" for number in range(1, 1000))
        ledger = Ledger(self.admissions, lambda: 0.0)
        self.admit = Admit(
            KnownTokens(**{"good": KIM, **principals}),
            TermsInForce(self.plans),
            self.admissions,
            ledger,
            Answers(ledger, AnswersInMemory(lambda: NOW_S), 300.0, lambda: 0.0),
            Bounds(1000),
            lambda: next(ids),
        )

    async def call(
        self,
        sent: Mapping[str, str | bytes] | None = None,
        *,
        method: Method = METHOD,
        request: bytes | None = b"12345",
        token: str | None = "good",
        within_s: float = 10.0,
    ) -> Admission:
        bearer = {} if token is None else {headers.AUTHORIZATION: f"Bearer {token}"}
        self.told.clear()
        caller = await self.admit.identify(method, {**bearer, **(sent or {})}, NOW_S)
        try:
            return await self.admit.admit(caller, request, NOW_S + within_s, NOW_S, self.told)
        finally:
            self.admit.left(caller)

    async def refusal(self, sent: Mapping[str, str | bytes] | None = None, **options: Any) -> ServiceError:
        with pytest.raises(ServiceError) as raised:
            await self.call(sent, **options)
        return raised.value


async def test_says_for_whom_and_until_when() -> None:
    """The context has the token's tenant and principal, ids of the gateway's own, and the method's priority."""
    admission = await Desk(plans(plan(may_fall_back=False))).call()
    assert (admission.principal, admission.lookup) == (KIM, None)
    assert admission.context == CallContext("acme", "kim", "id-1", "id-2", "normal", NOW_S + 10)


async def test_the_callers_wishes_stand_in_the_context() -> None:
    """The caller names its request, a priority and a bound on tokens; the call's id is never the caller's."""
    wishes = {headers.PRIORITY: "low", headers.REQUEST_ID: "r-1", headers.MAX_TOKENS: "64"}
    context = (await Desk(plans(plan())).call(wishes)).context
    assert (context.priority, context.request_id, context.max_output_tokens) == ("low", "r-1", 64)
    assert context.call_id == "id-1"


async def test_what_a_caller_claims_of_itself_is_not_read() -> None:
    """A tenant, a principal or a whole context in the caller's headers changes nothing."""
    claims: dict[str, str | bytes] = {headers.CONTEXT: b"forged", "weft-tenant": "other", "tenant": "other"}
    assert await Desk(plans(plan())).call(claims) == await Desk(plans(plan())).call()


async def test_a_call_without_a_token_is_refused() -> None:
    """A method that is not public wants a credential."""
    refused = await Desk(plans(plan())).refusal(token=None)
    assert isinstance(refused, UnauthenticatedError)
    assert refused.reason is Reason.TOKEN_MISSING


async def test_every_scope_is_needed() -> None:
    """A token with one of two scopes is refused; the error names the missing one and the method."""
    poor = replace(KIM, scopes=frozenset({"shop.read"}))
    refused = await Desk(plans(plan()), poor=poor).refusal(token="poor")
    assert isinstance(refused, PermissionDeniedError)
    assert refused.reason is Reason.SCOPE_MISSING
    assert refused.metadata == {"scope": "shop.list", "method": METHOD.path}


async def test_a_tenant_without_a_plan_is_refused() -> None:
    """A tenant that the settings do not know may not call, whatever its token says; the error names it."""
    desk = Desk(plans(plan(), tenants={"acme": plan()}), stray=replace(KIM, tenant="globex"))
    refused = await desk.refusal(token="stray")
    assert isinstance(refused, PermissionDeniedError)
    assert (refused.reason, refused.metadata) == (Reason.TENANT_UNKNOWN, {"tenant": "globex"})
    assert desk.admissions.demands == []


async def test_a_key_whose_plan_is_gone_is_refused() -> None:
    """Without its plan a key would have more than it was made with."""
    refused = await Desk(plans(plan()), key=replace(KIM, plan="gone")).refusal(token="key")
    assert isinstance(refused, InvalidArgumentError)
    assert (refused.reason, refused.metadata) == (Reason.PLAN_UNKNOWN, {"plan": "gone"})


async def test_who_may_not_call_is_not_told_of_headers() -> None:
    """The token is looked at first, then the scopes, then the tenant, then the rest of the headers."""
    bad = {headers.PRIORITY: "urgent"}
    poor = replace(KIM, scopes=frozenset({"shop.read"}), tenant="globex")
    desk = Desk(plans(plan(), tenants={"acme": plan()}), poor=poor, stray=replace(KIM, tenant="globex"))
    for token, reason in (
        ("no", Reason.TOKEN_REFUSED),
        ("poor", Reason.SCOPE_MISSING),
        ("stray", Reason.TENANT_UNKNOWN),
        ("good", Reason.HEADER_INVALID),
    ):
        assert (await desk.refusal(bad, token=token)).reason is reason


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


async def test_the_allowance_travels_in_the_context() -> None:
    """What the ledger granted is what the services are told; without a budget there is no bound."""
    assert (await Desk(plans(STANDARD), Verdict(Outcome.ADMITTED, 42)).call()).context.allowance_tokens == 42
    assert (await Desk(plans(STANDARD)).call()).context.allowance_tokens is None


async def test_the_plan_caps_the_priority() -> None:
    """Neither the caller's wish nor the method's default goes above the plan's highest."""
    desk = Desk(plans(plan(highest_priority="normal")))
    urgent = replace(METHOD, default_priority="high")
    assert (await desk.call({headers.PRIORITY: "high"})).context.priority == "normal"
    assert (await desk.call(method=urgent)).context.priority == "normal"
    assert (await desk.call({headers.PRIORITY: "low"}, method=urgent)).context.priority == "low"


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


async def test_open_calls_of_a_tenant_are_bounded() -> None:
    """As many as the plan says are under way; the next is told when to come back; other tenants are not concerned, and
    a call that ends makes room."""
    desk = Desk(plans(plan(open_calls=2)), other=replace(KIM, tenant="globex"))
    metadata = {headers.AUTHORIZATION: "Bearer good"}
    first = await desk.admit.identify(METHOD, metadata, NOW_S)
    await desk.admit.identify(METHOD, metadata, NOW_S)
    refused = await desk.refusal()
    assert (refused.reason, refused.retry_after_s) == (Reason.OVERLOADED, 1.0)
    assert (await desk.call(token="other")).context.tenant == "globex"
    desk.admit.left(first)
    assert (await desk.call()).context.tenant == "acme"


async def test_bytes_of_requests_are_bounded() -> None:
    """Requests of all calls under way together take no more memory than they may; a call that ends lets go of its."""
    desk = Desk(plans(plan()))
    caller = await desk.admit.identify(METHOD, {headers.AUTHORIZATION: "Bearer good"}, NOW_S)
    await desk.admit.admit(caller, b"x" * 600, NOW_S + 10, NOW_S, [])
    refused = await desk.refusal(request=b"x" * 401)
    assert (refused.reason, refused.retry_after_s) == (Reason.OVERLOADED, 1.0)
    assert (await desk.call(request=b"x" * 400)).context.tenant == "acme"
    desk.admit.left(caller)
    assert (await desk.call(request=b"x" * 1000)).context.tenant == "acme"


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
