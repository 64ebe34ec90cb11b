"""Ends the leases of calls that nobody closes, of tenants too that make no more calls."""

from __future__ import annotations

import asyncio

from libs.errors.errors import UnavailableError
from libs.ledger.keys import SWEEPING, TENANTS, LedgerKeys
from libs.ledger.ledger import PRELUDE
from libs.store.redis import reached
from libs.store.scripts import read_script
from libs.store.together import Together
from libs.telemetry import logs, metrics

BATCH = 100
EVERY_S = 10.0

_SWEEP = read_script("libs.ledger", "sweep", PRELUDE)

LAPSED = metrics.counter(
    "weft_ledger_lapsed_total",
    "Calls whose lease ended while an execution had not told what it used: what was reserved is charged.",
)


class LedgerSweeper:
    """Sweeps every tenant's ended leases. Any number of them may run beside each other: one of them sweeps in each
    interval, and a lease ends once."""

    def __init__(self, together: Together, every_s: float = EVERY_S) -> None:
        self._together = together
        self._every_s = every_s

    async def run(self) -> None:
        """Sweeps again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.sweep_if_due()
            except UnavailableError:
                logs.warning("ledger", sweep="redis is not reached")
            except Exception as error:
                logs.error("ledger", error)

    async def sweep_if_due(self) -> bool:
        """Sweeps every tenant, unless somebody has within the interval; whether it did. Raises UnavailableError."""
        claim = self._together.send("SET", SWEEPING, "", "NX", "PX", max(1, round(self._every_s * 1000)))
        if not await reached(claim):
            return False
        await self.sweep_all()
        return True

    async def sweep_all(self) -> int:
        """Sweeps every tenant; how many leases ended. Raises UnavailableError."""
        cursor, ended = 0, 0
        while True:
            position, tenants = await reached(self._together.send("SSCAN", TENANTS, cursor, "COUNT", BATCH))
            ended += sum(await asyncio.gather(*(self.sweep(tenant.decode()) for tenant in tenants)))
            cursor = int(position)
            if cursor == 0:
                return ended

    async def sweep(self, tenant: str) -> int:
        """Ends the tenant's leases that are over; how many. Raises UnavailableError."""
        ended = 0
        while True:
            swept: int
            lapsed: int
            swept, lapsed = await _SWEEP(self._together, [LedgerKeys(tenant).prefix], [BATCH])
            ended += swept
            if lapsed:
                LAPSED.inc(lapsed)
                logs.warning("ledger", lapsed=lapsed, tenant=tenant)
            if swept < BATCH:
                return ended
