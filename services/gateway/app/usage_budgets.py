"""Budgets as they stand."""

from __future__ import annotations

from collections.abc import Sequence

from libs.errors.errors import PermissionDeniedError, Reason
from libs.plans.plans import Budget
from services.gateway.domain.usage import BudgetState, period_at
from services.gateway.ports import BudgetName, PlansInForce, UsageLedger

_ORDER = {name: place for place, name in enumerate(("tenant", "key", "day", "month", "tokens", "money"))}


class ListBudgets:
    """Every budget that bounds a caller."""

    def __init__(self, plans: PlansInForce, ledger: UsageLedger) -> None:
        self._plans = plans
        self._ledger = ledger

    async def __call__(self, tenant: str, key: str) -> Sequence[BudgetState]:
        """The tenant's first, then the key's; day before month, tokens before money. Raises PermissionDeniedError
        TENANT_UNKNOWN, and UnavailableError."""
        plan = self._plans.current.of(tenant)
        if plan is None:
            raise PermissionDeniedError(
                Reason.TENANT_UNKNOWN, f"the settings know no tenant {tenant}", metadata={"tenant": tenant}
            )
        budgets = sorted((*plan.tenant_budgets, *plan.key_budgets), key=_place)
        now_s = await self._ledger.now_s()
        periods = [period_at(budget.name.split("/")[1], now_s) for budget in budgets]
        names = [_name(budget, key, period.name) for budget, period in zip(budgets, periods, strict=True)]
        used = await self._ledger.budgets(tenant, names)
        return [
            BudgetState(budget.name, budget.limit, use.used, use.reserved, period.end_unix_s)
            for budget, use, period in zip(budgets, used, periods, strict=True)
        ]


def _place(budget: Budget) -> list[int]:
    return [_ORDER[part] for part in budget.name.split("/")]


def _name(budget: Budget, key: str, period: str) -> BudgetName:
    scope, _, unit = budget.name.split("/")
    return BudgetName("tenant" if scope == "tenant" else f"key/{key}", period, unit)
