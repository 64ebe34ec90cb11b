"""A ledger that calls were written in, and what it must tell of them."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from libs.auth.context import CallContext
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from services.gateway.adapters.usage import RedisUsageLedger
from services.gateway.domain.usage import Days, Slice, Used

PRICES = {"small": (1, 2), "*": (10, 20)}
"""Nanos for a token that is read, and for one that is written, by model."""

_numbers = itertools.count(1)


@dataclass
class Books:
    """One tenant's calls. `expected` is what was told of them, added up here."""

    redis: Any
    ledger: RedisLedger
    tenant: str
    expected: dict[date, dict[Slice, Used]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Used)))

    @property
    def keys(self) -> LedgerKeys:
        return LedgerKeys(self.tenant)

    async def today(self) -> date:
        """By Redis' clock; not within the day's last seconds, so that it is still today when the test ends."""
        seconds, _ = await self.redis.time()
        if seconds % 86_400 > 86_380:
            await asyncio.sleep(21)
            seconds, _ = await self.redis.time()
        return datetime.fromtimestamp(seconds, UTC).date()

    async def admit(self, day: date, key: str, method: str, *, reserved: int = 0, lease_ms: int = 0) -> CallContext:
        """A call with a reservation of that day, as an admission writes it; with a lease, where one is named."""
        call_id = f"call-{next(_numbers)}"
        prices = {model: f"{read}:{written}" for model, (read, written) in PRICES.items()}
        await self.redis.hset(self.keys.prices("v1"), mapping=prices)
        fields: dict[str, str | int] = {
            "key": key,
            "method": method,
            "group": "",
            "day": f"{day:%Y%m%d}",
            "month": f"{day:%Y%m}",
            "prices": "v1",
            "tokens": reserved,
            "money": reserved * 20,
        }
        await self.redis.hset(self.keys.call(call_id), mapping=fields)
        for period in (fields["day"], fields["month"]) if reserved else ():
            for scope in ("tenant", f"key/{key}"):
                await self.redis.hincrby(self.keys.budget(str(period)), f"{scope}:tokens:reserved", reserved)
                await self.redis.hincrby(self.keys.budget(str(period)), f"{scope}:money:reserved", reserved * 20)
        if lease_ms:
            await self.redis.zadd(self.keys.leases, {call_id: lease_ms})
        return CallContext(self.tenant, key, call_id, call_id, "normal", 0.0, allowance_tokens=reserved)

    async def use(self, day: date, part: Slice, read: int, written: int) -> None:
        """One execution of one call, told as a service tells it."""
        call = await self.admit(day, part.key, part.method)
        await self.tell(call, day, part, read, written)

    async def tell(self, call: CallContext, day: date, part: Slice, read: int, written: int) -> None:
        per_read, per_written = PRICES.get(part.model, PRICES["*"])
        await self.ledger.record(call, Execution("/1", part.model, read, written))
        self.expected[day][part] += Used(1, read, written, read * per_read + written * per_written)

    async def told(self, days: Days) -> Mapping[date, Mapping[Slice, Used]]:
        """What the usage ledger says."""
        return {day: used async for day, used in RedisUsageLedger(self.redis).used(self.tenant, days)}

    async def sums(self) -> set[str]:
        """All keys of sums that there are, without the tenant's prefix; and of rebuilds under way."""
        start = f"{self.keys.prefix}:".encode()
        names = [name async for name in self.redis.scan_iter(count=10_000) if name.startswith(start)]
        kinds = ("usage:", "rebuild:")
        return {told for told in (name[len(start) :].decode() for name in names) if told.startswith(kinds)}
