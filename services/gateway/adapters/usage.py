"""The port UsageLedger over Redis: reads the sums and the budgets that the ledger's scripts write."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

from redis.asyncio import Redis

from libs.ledger.keys import TENANTS, LedgerKeys
from libs.ledger.ledger import PRELUDE
from libs.store.redis import reached, unavailable
from libs.store.scripts import Script, read_lua, read_script
from libs.store.together import Together
from services.gateway.domain.usage import Days, Slice, Used
from services.gateway.ports import BudgetName, BudgetUse, Rebuilt

DAYS_A_READ = 8
TENANTS_A_READ = 1000
RECORDS_A_STEP = 200
"""How many records a script of a rebuild reads: Redis does nothing else meanwhile, about 2 ms."""

MAX_TRIES = 5

_AMOUNTS = ("executions", "input_tokens", "output_tokens", "cost_nanos")


class RedisUsageLedger:
    """The usage of all tenants. `records_a_step`: most records that one script reads."""

    def __init__(self, redis: Redis, *, records_a_step: int = RECORDS_A_STEP) -> None:
        self._redis: Any = redis  # redis-py types each method for both of its clients.
        self._together = Together(redis)
        self._records_a_step = records_a_step
        self._begin, self._step, self._flip = (_script(name) for name in ("begin", "step", "flip"))

    async def now_s(self) -> float:
        seconds, microseconds = await reached(self._redis.time())
        return float(seconds + microseconds / 1e6)

    async def used(self, tenant: str, days: Days) -> AsyncIterator[tuple[date, Mapping[Slice, Used]]]:
        keys = LedgerKeys(tenant)
        generation = int(await reached(self._redis.get(keys.generation)) or 0)
        every = days.each()
        for at in range(0, len(every), DAYS_A_READ):
            some = every[at : at + DAYS_A_READ]
            found: Sequence[Mapping[bytes, bytes]] | None = None
            while found is None:
                generation, found = await self._read(keys, generation, some)
            for day, sums in zip(some, found, strict=True):
                if sums:
                    yield day, _by_slice(sums)

    async def _read(
        self, keys: LedgerKeys, generation: int, days: Sequence[date]
    ) -> tuple[int, Sequence[Mapping[bytes, bytes]] | None]:
        """The days' sums in a generation; with the one in use, and None, where that is another one: a rebuild has
        taken them away meanwhile."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.get(keys.generation)
            for day in days:
                pipeline.hgetall(keys.usage(generation, f"{day:%Y%m%d}"))
            in_use, *found = await reached(pipeline.execute())
        return int(in_use or 0), found if int(in_use or 0) == generation else None

    async def tenants(self, *, after: str, limit: int) -> Sequence[str]:
        names: set[str] = set()
        cursor, begun = 0, False
        while cursor or not begun:
            begun = True
            cursor, some = await reached(self._redis.sscan(TENANTS, cursor, count=TENANTS_A_READ))
            names.update(name for name in (told.decode() for told in some) if name > after)
            names = set(heapq.nsmallest(limit, names))
        return sorted(names)

    async def budgets(self, tenant: str, names: Sequence[BudgetName]) -> Sequence[BudgetUse]:
        keys = LedgerKeys(tenant)
        if not names:
            return ()
        async with self._redis.pipeline(transaction=True) as pipeline:
            for name in names:
                field = f"{name.scope}:{name.unit}"
                pipeline.hmget(keys.budget(name.period), [f"{field}:used", f"{field}:reserved"])
            found = await reached(pipeline.execute())
        return [BudgetUse(int(used or 0), int(reserved or 0)) for used, reserved in found]

    async def rebuild(self, tenant: str) -> Rebuilt:
        for _ in range(MAX_TRIES):
            rebuilt = await self._try_to_rebuild(LedgerKeys(tenant).prefix)
            if rebuilt is not None:
                return rebuilt
        raise unavailable()

    async def _try_to_rebuild(self, prefix: str) -> Rebuilt | None:
        """None: records went before they were read."""
        own = await self._begin(self._together, (prefix,), ())
        arguments = (own, self._records_a_step)
        while True:
            read = await self._step(self._together, (prefix,), arguments)
            if read < 0:
                return None
            if read < self._records_a_step:
                outcome, *told = await self._flip(self._together, (prefix,), arguments)
                if outcome == b"DONE":
                    records, first_day = told
                    return Rebuilt(records, _day(first_day.decode()))
                if outcome == b"LOST":
                    return None


def _by_slice(sums: Mapping[bytes, bytes]) -> Mapping[Slice, Used]:
    amounts: defaultdict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    for field, amount in sums.items():
        key, model, method, what = field.decode().split("|")
        amounts[key, model, method][what] = int(amount)
    return {
        Slice(*(unquote(name) for name in names)): Used(*(found.get(what, 0) for what in _AMOUNTS))
        for names, found in amounts.items()
    }


def _day(written: str) -> date | None:
    return datetime.strptime(written, "%Y%m%d").date() if written else None


def _script(name: str) -> Script:
    prelude = PRELUDE + read_lua(__package__, "rebuild")
    return read_script(__package__, f"rebuild_{name}", prelude)
