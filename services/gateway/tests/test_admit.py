"""Who may make which call, decided without a transport."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.auth.context import CallContext
from libs.auth.tokens import Principal
from libs.contracts import headers
from libs.contracts.policies import Method
from libs.errors.errors import (
    PermissionDeniedError,
    Reason,
    ServiceError,
    UnauthenticatedError,
)
from services.gateway.app.admit import Admission, Admit

NOW_S = 1_700_000_000.0
READ = Method(
    path="/shop.v1.Shop/Read",
    service="shop.v1.Shop",
    name="Read",
    served_by="shop",
    scopes=("shop.read", "shop.list"),
    public=False,
    default_timeout_s=10.0,
    max_timeout_s=60.0,
    idempotent=True,
    retry=None,
    default_priority="normal",
    refusal="",
    client_streaming=False,
    server_streaming=False,
)
PRINCIPAL = Principal(
    subject="kim", tenant="acme", scopes=frozenset({"shop.read", "shop.list"}), expire_time_s=NOW_S + 60
)


class KnownTokens:
    """A verifier that knows its tokens by heart."""

    def __init__(self, **principals: Principal) -> None:
        self.principals = principals

    def verify(self, token: str, now_s: float) -> Principal:
        if token not in self.principals or now_s >= self.principals[token].expire_time_s:
            raise UnauthenticatedError(Reason.TOKEN_REFUSED, "not a known token")
        return self.principals[token]


def admitted(sent: dict[str, str | bytes] | None = None, *, token: str | None = "good") -> Admission:
    poor = replace(PRINCIPAL, scopes=frozenset({"shop.read"}))
    ids = iter(("id-1", "id-2"))
    admit = Admit(KnownTokens(good=PRINCIPAL, poor=poor), lambda: next(ids))
    bearer = {} if token is None else {headers.AUTHORIZATION: f"Bearer {token}"}
    return admit(READ, {**bearer, **(sent or {})}, NOW_S + 10, NOW_S)


def test_says_for_whom_and_until_when() -> None:
    """The context has the token's tenant and principal, ids of the gateway's own, and the method's priority."""
    assert admitted() == Admission(PRINCIPAL, CallContext("acme", "kim", "id-1", "id-2", "normal", NOW_S + 10))


def test_the_callers_wishes_stand_in_the_context() -> None:
    """The caller names its request, a priority and a bound on tokens; the call's id is never the caller's."""
    context = admitted({headers.PRIORITY: "low", headers.REQUEST_ID: "r-1", headers.MAX_TOKENS: "64"}).context
    assert (context.priority, context.request_id, context.max_output_tokens) == ("low", "r-1", 64)
    assert context.call_id == "id-1"


def test_what_a_caller_claims_of_itself_is_not_read() -> None:
    """A tenant, a principal or a whole context in the caller's headers changes nothing."""
    assert admitted({headers.CONTEXT: b"forged", "weft-tenant": "other", "tenant": "other"}) == admitted()


def test_a_call_without_a_token_is_refused() -> None:
    """A method that is not public wants a token."""
    with pytest.raises(UnauthenticatedError) as raised:
        admitted(token=None)
    assert raised.value.reason is Reason.TOKEN_MISSING


def test_every_scope_is_needed() -> None:
    """A token with one of two scopes is refused; the error names the missing one and the method."""
    with pytest.raises(PermissionDeniedError) as raised:
        admitted(token="poor")
    assert raised.value.reason is Reason.SCOPE_MISSING
    assert raised.value.metadata == {"scope": "shop.list", "method": READ.path}


def test_who_may_not_call_is_not_told_of_headers() -> None:
    """The token is looked at first, then the scopes, then the rest of the headers."""
    bad: dict[str, str | bytes] = {headers.PRIORITY: "urgent"}
    for token, reason in (
        ("no", Reason.TOKEN_REFUSED),
        ("poor", Reason.SCOPE_MISSING),
        ("good", Reason.HEADER_INVALID),
    ):
        with pytest.raises(ServiceError) as raised:
            admitted(bad, token=token)
        assert raised.value.reason is reason
