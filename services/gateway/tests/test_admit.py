"""Which call may be made, for whom and how urgent, decided without a transport."""

from __future__ import annotations

from dataclasses import replace

from libs.auth.context import CallContext
from libs.contracts import headers
from libs.errors.errors import InvalidArgumentError, PermissionDeniedError, Reason, UnauthenticatedError
from services.gateway.tests.desk import KIM, NOW_S, Desk
from services.gateway.tests.fakes import METHOD, plan, plans


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


async def test_the_plan_caps_the_priority() -> None:
    """Neither the caller's wish nor the method's default goes above the plan's highest."""
    desk = Desk(plans(plan(highest_priority="normal")))
    urgent = replace(METHOD, default_priority="high")
    assert (await desk.call({headers.PRIORITY: "high"})).context.priority == "normal"
    assert (await desk.call(method=urgent)).context.priority == "normal"
    assert (await desk.call({headers.PRIORITY: "low"}, method=urgent)).context.priority == "low"


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
