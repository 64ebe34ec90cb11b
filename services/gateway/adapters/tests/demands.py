"""What tests ask of the ledger, and how they look into it."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from libs.auth.context import CallContext
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.parts.processes import RunningPart
from libs.parts.valkey import start_redis
from libs.plans.plans import Budget, Price, Prices, RateLimit
from libs.testing.eventually import eventually
from services.gateway.ports import Demand, Look, Worst

PRICES = Prices("prices-1", "EUR", {"small": Price(1, 2), "large": Price(30, 70)}, Price(10, 20))
PASSWORD = "only-for-tests"


def demand(tenant: str, **changes: Any) -> Demand:
    """A call of 100 tokens in and 50 out at most, without limits or budgets unless they are given."""
    fields: dict[str, Any] = {
        "tenant": tenant,
        "key": "kim",
        "call_id": str(uuid.uuid4()),
        "method": "/weft.rag.v1.AnswerService/Answer",
        "limit_group": "answer",
        "limits": (),
        "budgets": (),
        "worst": Worst(100, 50),
        "prices": PRICES,
        "lease_s": 600.0,
    }
    return Demand(**(fields | changes))


def limits(**named: tuple[int, int]) -> tuple[RateLimit, ...]:
    """`limits(tenant_minute=(5, 60))`."""
    return tuple(RateLimit(name.replace("_", "/"), limit, window_s) for name, (limit, window_s) in named.items())


def budgets(**named: int) -> tuple[Budget, ...]:
    """`budgets(tenant_day_tokens=1000)`."""
    return tuple(Budget(name.replace("_", "/"), limit) for name, limit in named.items())


def look(name: str = "an answer", max_age_s: int = 300, **changes: Any) -> Look:
    return Look(name, max_age_s, **changes)


def context(demand: Demand, allowance: int | None = None, path: str = "") -> CallContext:
    """What services are told of an admitted call."""
    return CallContext(
        demand.tenant, demand.key, demand.call_id, "request", "normal", 0.0, allowance_tokens=allowance, path=path
    )


async def sums(redis: Any, tenant: str, period: str) -> Mapping[str, int]:
    """The budgets of a day or a month; what is 0 is left out."""
    found = await redis.hgetall(LedgerKeys(tenant).budget(period))
    return {name.decode(): int(value) for name, value in found.items() if int(value)}


async def today(redis: Any) -> str:
    seconds, _ = await redis.time()
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d")


async def records(redis: Any, tenant: str) -> list[dict[str, str]]:
    """The tenant's records, oldest first."""
    entries = await redis.xrange(LedgerKeys(tenant).records)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


def tokens_of(record: Mapping[str, str]) -> int:
    return int(record["input"]) + int(record["output"])


async def clear_of_midnight(redis: Any, seconds: float = 20.0) -> None:
    """Returns when the day (UTC) does not end within `seconds`."""

    async def clear() -> bool:
        now, _ = await redis.time()
        return bool(86400 - now % 86400 > seconds)

    await eventually(clear, within_s=seconds + 5.0)


async def written(ledger: RedisLedger) -> None:
    """Returns when everything that the ledger was told is written."""
    await eventually(lambda: ledger.waiting == 0, every_s=0.0)


class OwnRedis:
    """A real server in a folder; what it was told before it was killed is there when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part: RunningPart | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._part = start_redis(self._folder / "data", self.port, password=PASSWORD, log=self._folder / "redis.log")
        self.port = int(self._part.address.rpartition(":")[2])

    async def restart(self) -> None:
        await asyncio.to_thread(self.start)

    def pause(self) -> None:
        """It answers nothing, and nobody is told."""
        os.kill(self._running.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._running.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self._running.pid, signal.SIGKILL)
        self._running.process.wait()

    def stop(self) -> None:
        if self._running.process.returncode is None:
            os.kill(self._running.pid, signal.SIGCONT)
        self._running.stop()

    @property
    def _running(self) -> RunningPart:
        assert self._part is not None
        return self._part
