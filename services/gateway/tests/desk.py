"""The deciding of calls without a transport, and a plan with one of each limit and budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from libs.auth.tokens import Principal
from libs.contracts import headers
from libs.contracts.policies import Method
from libs.errors.errors import ServiceError
from libs.plans.plans import Plans
from services.gateway.app.admit import Admission, Admit
from services.gateway.app.answers import Answers
from services.gateway.app.bounds import Bounds
from services.gateway.app.ledger import Ledger
from services.gateway.app.terms import TermsInForce
from services.gateway.ports import Verdict
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
