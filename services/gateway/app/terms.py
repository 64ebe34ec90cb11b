"""What the settings file makes of a call: which limits and budgets hold for it, and how urgent it may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from libs.auth.tokens import Principal
from libs.contracts.headers import PRIORITIES
from libs.errors.errors import InvalidArgumentError, PermissionDeniedError, Reason
from libs.plans.plans import Budget, Plan, Plans, Prices, RateLimit
from services.gateway.ports import PlansInForce

Bound = TypeVar("Bound", bound=RateLimit | Budget)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one principal's calls to the methods of one limit group."""

    limits: tuple[RateLimit, ...]
    budgets: tuple[Budget, ...]
    highest_priority: str
    may_fall_back: bool
    open_calls: int
    prices: Prices

    def priority(self, wished: str) -> str:
        """The wish, or the highest that the terms allow where that is lower."""
        return min(wished, self.highest_priority, key=PRIORITIES.index)


class TermsInForce:
    """Terms by the settings file as it is in force, remembered until it changes."""

    def __init__(self, plans: PlansInForce) -> None:
        self._plans = plans
        self._read: Plans | None = None
        self._remembered: dict[tuple[int, str, str], Terms] = {}

    def of(self, principal: Principal, limit_group: str) -> Terms:
        """The tenant's plan, narrowed by the principal's own where it has one.

        Raises PermissionDeniedError TENANT_UNKNOWN, and InvalidArgumentError PLAN_UNKNOWN for a key whose plan is gone:
        without it the key would have more than it was made with.
        """
        plans = self._plans.current
        if plans is not self._read:
            self._read, self._remembered = plans, {}
        plan = plans.of(principal.tenant)
        if plan is None:
            raise PermissionDeniedError(
                Reason.TENANT_UNKNOWN,
                f"the settings know no plan for the tenant {principal.tenant}: whoever runs the gateway adds one",
                metadata={"tenant": principal.tenant},
            )
        # By identity: `plans` keeps its plans, and there are no more of them than the file names.
        name = (id(plan), principal.plan, limit_group)
        terms = self._remembered.get(name)
        if terms is None:
            terms = self._remembered[name] = _terms(plans, plan, principal.plan, limit_group)
        return terms


def _terms(plans: Plans, plan: Plan, of_key: str, limit_group: str) -> Terms:
    key = plan
    if of_key:
        found = plans.plans.get(of_key)
        if found is None:
            raise InvalidArgumentError(
                Reason.PLAN_UNKNOWN,
                f"the settings have no plan {of_key} any more, which this API key is bound to: make another key",
                metadata={"plan": of_key},
            )
        key = found
    return Terms(
        limits=(
            *plan.tenant_limits,
            *lower(plan.key_limits, key.key_limits),
            *plan.group_limits.get(limit_group, ()),
        ),
        budgets=(*plan.tenant_budgets, *lower(plan.key_budgets, key.key_budgets)),
        highest_priority=min(plan.highest_priority, key.highest_priority, key=PRIORITIES.index),
        may_fall_back=plan.may_fall_back and key.may_fall_back,
        open_calls=plan.open_calls,
        prices=plans.prices,
    )


def lower(of_tenant: Iterable[Bound], of_key: Iterable[Bound]) -> tuple[Bound, ...]:
    """All of both; of two with the same name the lower."""
    lowest = {bound.name: bound for bound in sorted((*of_tenant, *of_key), key=lambda bound: -bound.limit)}
    return tuple(lowest.values())
