"""Budgets as they stand."""

from __future__ import annotations

from collections.abc import Sequence

from libs.auth.tokens import Principal
from libs.plans.plans import Budget
from services.gateway.app.terms import TermsInForce
from services.gateway.domain.usage import BudgetState, period_at
from services.gateway.ports import BudgetName, UsageLedger

_ORDER = {name: place for place, name in enumerate(("tenant", "key", "day", "month", "tokens", "money"))}


class ListBudgets:
    """Every budget that bounds a caller."""

    def __init__(self, terms: TermsInForce, ledger: UsageLedger) -> None:
        self._terms = terms
        self._ledger = ledger

    async def __call__(self, principal: Principal) -> Sequence[BudgetState]:
        """The tenant's first, then the key's; day before month, tokens before money.

        Raises what `TermsInForce.of` raises, and UnavailableError.
        """
        budgets = sorted(self._terms.of(principal, "").budgets, key=_place)
        now_s = await self._ledger.now_s()
        periods = [period_at(budget.name.split("/")[1], now_s) for budget in budgets]
        names = [_name(budget, principal.subject, period.name) for budget, period in zip(budgets, periods, strict=True)]
        used = await self._ledger.budgets(principal.tenant, names)
        return [
            BudgetState(budget.name, budget.limit, use.used, use.reserved, period.end_unix_s)
            for budget, use, period in zip(budgets, used, periods, strict=True)
        ]


def _place(budget: Budget) -> list[int]:
    return [_ORDER[part] for part in budget.name.split("/")]


def _name(budget: Budget, key: str, period: str) -> BudgetName:
    scope, _, unit = budget.name.split("/")
    return BudgetName(scope if scope == "tenant" else f"{scope}/{key}", period, unit)
