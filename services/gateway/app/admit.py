"""Admission: may this call be made, for whom, how urgent is it, what may it use. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from libs.auth.context import CallContext
from libs.auth.tokens import Principal
from libs.contracts.policies import Method
from libs.errors.errors import PermissionDeniedError, Reason
from services.gateway.app.answers import Answers, Lookup
from services.gateway.app.bounds import Bounds
from services.gateway.app.ledger import Ledger
from services.gateway.app.refusals import rate_headers, refusal
from services.gateway.app.terms import Terms, TermsInForce
from services.gateway.domain.metadata import Metadata, Wishes, bearer_token, wishes
from services.gateway.ports import Admissions, Demand, Identities, Outcome, Verdict, Worst

LEASE_MARGIN_S = 10.0
"""A reservation outlives its call's deadline by so much: what was used by then is told by then."""


@dataclass(slots=True)
class Caller:
    """A call whose caller is known and may make it. `Admit.left` gives back what it takes of the gateway."""

    method: Method
    principal: Principal
    terms: Terms
    wishes: Wishes
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may be made, and what the services behind the gateway are told of it.

    `lookup`: what it has to do with kept answers; None where its method's are not kept. `waited_s`: how much of its
    admission was waiting for another call's answer.
    """

    principal: Principal
    context: CallContext
    charged: bool
    lookup: Lookup | None = None
    waited_s: float = 0.0


class Admit:
    """Decides on each call by its method's policy and its tenant's plan; no method is known by name."""

    def __init__(
        self,
        identities: Identities,
        terms: TermsInForce,
        admissions: Admissions,
        ledger: Ledger,
        answers: Answers,
        bounds: Bounds,
        new_id: Callable[[], str],
    ) -> None:
        self._identities = identities
        self._terms = terms
        self._admissions = admissions
        self._ledger = ledger
        self._answers = answers
        self._bounds = bounds
        self._new_id = new_id

    async def identify(self, method: Method, metadata: Metadata, now_s: float) -> Caller:
        """Who makes a call of `method` at `now_s` (Unix time), before its request is read.

        Raises, in this order: TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_EXPIRED, TOKEN_REFUSED; SCOPE_MISSING;
        TENANT_UNKNOWN, PLAN_UNKNOWN; HEADER_INVALID; OVERLOADED. Who may not make a call is not told what else is wrong
        with it.
        """
        principal = await self._identities.identify(bearer_token(metadata), now_s)
        for scope in method.scopes:
            if scope not in principal.scopes:
                raise _scope_missing(method, scope)
        terms = self._terms.of(principal, method.limit_group)
        wanted = wishes(metadata)
        self._bounds.enter(principal.tenant, terms.open_calls)
        return Caller(method, principal, terms, wanted)

    def left(self, caller: Caller) -> None:
        """The call is over, however it ended."""
        self._bounds.let_go(caller.held_bytes)
        self._bounds.leave(caller.principal.tenant)

    async def admit(
        self, caller: Caller, request: bytes | None, deadline_s: float, now_s: float, told: list[tuple[str, str]]
    ) -> Admission:
        """Admits the caller's call with this `request` (None: a stream), which ends by `deadline_s` (Unix time).

        `told` gets the headers of the answer, good or bad. Raises RATE_LIMITED, BUDGET_EXHAUSTED, OVERLOADED, and
        DEPENDENCY_UNAVAILABLE where a budget cannot be asked.
        """
        if request is not None:
            self._bounds.hold(len(request))
            caller.held_bytes = len(request)
        remaining_s = max(0.0, deadline_s - now_s)
        demand = self._demand(caller, 0 if request is None else len(request), remaining_s)
        lookup, waited_s = None, 0.0
        if caller.method.cacheable and request is not None:
            control = caller.wishes.cache
            verdict, lookup, waited_s = await self._answers.look(demand, request, control, remaining_s, told)
        else:
            verdict = await self._ledger.ask(demand)
        if verdict.rate is not None:
            told += rate_headers(verdict.rate)
        if refused := refusal(verdict):
            raise refused
        context = self._context(caller, demand.call_id, deadline_s, verdict)
        charged = demand.worst is not None and verdict.outcome is Outcome.ADMITTED
        return Admission(caller.principal, context, charged, lookup, waited_s)

    def never_began(self, admission: Admission) -> None:
        """The service never saw the call: what is reserved for it is free again."""
        if admission.charged:
            self._admissions.refund(admission.context.tenant, admission.context.call_id)

    def _demand(self, caller: Caller, request_bytes: int, remaining_s: float) -> Demand:
        method, terms = caller.method, caller.terms
        return Demand(
            tenant=caller.principal.tenant,
            key=caller.principal.subject,
            call_id=self._new_id(),
            method=method.path,
            limit_group=method.limit_group,
            limits=terms.limits,
            budgets=terms.budgets,
            worst=_worst(method, request_bytes, caller.wishes.max_tokens),
            prices=terms.prices,
            lease_s=remaining_s + LEASE_MARGIN_S,
        )

    def _context(self, caller: Caller, call_id: str, deadline_s: float, verdict: Verdict) -> CallContext:
        wanted, terms = caller.wishes, caller.terms
        return CallContext(
            tenant=caller.principal.tenant,
            principal=caller.principal.subject,
            call_id=call_id,
            request_id=wanted.request_id or self._new_id(),
            priority=terms.priority(wanted.priority or caller.method.default_priority),
            deadline_s=deadline_s,
            max_output_tokens=wanted.max_tokens or 0,
            allowance_tokens=verdict.allowance_tokens,
            may_fall_back=terms.may_fall_back,
        )


def _worst(method: Method, request_bytes: int, max_tokens: int | None) -> Worst | None:
    """The most that the call can use. A wish does not lessen what a service that counts bytes cannot stop at."""
    cost = method.cost
    if cost is None:
        return None
    output = cost.output_tokens
    if max_tokens is not None and not cost.bytes_per_token:
        output = min(output, max_tokens)
    return Worst(cost.most_input_tokens(request_bytes), output)


def _scope_missing(method: Method, scope: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        Reason.SCOPE_MISSING,
        f"{method.path} needs the scope {scope}, which the token lacks",
        metadata={"scope": scope, "method": method.path},
    )
