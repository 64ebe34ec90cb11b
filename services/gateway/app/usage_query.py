"""Sums of usage, of one tenant and of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from services.gateway.domain.usage import Days, Dimension, Row, Summary, Used, days_asked
from services.gateway.ports import UsageLedger

MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows, in their order; `truncated`: there were more."""

    rows: Sequence[Row]
    truncated: bool


class QueryUsage:
    """What a tenant used."""

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    async def __call__(self, tenant: str, first: str, last: str, group_by: Iterable[Dimension]) -> Answer:
        """Raises what `days_asked` raises, and UnavailableError."""
        days = days_asked(first, last, await today(self._ledger))
        summary = Summary(group_by)
        async for day, used in self._ledger.used(tenant, days):
            summary.add(day, used)
            if summary.has_first(MAX_ROWS + 1):
                break
        rows = summary.rows()
        return Answer(rows[:MAX_ROWS], len(rows) > MAX_ROWS)


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Tenants with what they used, by name; `more`: there are others after them."""

    tenants: Sequence[tuple[str, Used]]
    more: bool


class QueryTenants:
    """What each tenant used."""

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    async def days(self, first: str, last: str) -> Days:
        """Those that are asked for, as they are now: pages of one list are all of the same days."""
        return days_asked(first, last, await today(self._ledger))

    async def __call__(self, days: Days, *, after: str, limit: int) -> TenantPage:
        """The first `limit` tenants after `after`. Raises UnavailableError."""
        names = await self._ledger.tenants(after=after, limit=limit + 1)
        return TenantPage([(name, await self._sum(name, days)) for name in names[:limit]], len(names) > limit)

    async def _sum(self, tenant: str, days: Days) -> Used:
        summary = Summary(())
        async for day, used in self._ledger.used(tenant, days):
            summary.add(day, used)
        return summary.rows()[0].used


async def today(ledger: UsageLedger) -> date:
    """By the ledger's clock."""
    return datetime.fromtimestamp(await ledger.now_s(), UTC).date()
