"""Admission in Redis: limits, kept answers and budgets in one script, one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from libs.errors.errors import UnavailableError
from libs.ledger.keys import TENANTS, LedgerKeys
from libs.ledger.ledger import PRELUDE
from libs.ledger.sweeper import LAPSED
from libs.plans.plans import Prices
from libs.store.outbox import Outbox
from libs.store.redis import reached, unavailable
from libs.store.scripts import read_script
from libs.store.stamps import MODELS, tenant_stamps
from libs.store.together import Together
from libs.telemetry import logs
from services.gateway.ports import Demand, KeptAnswer, Outcome, Rate, Verdict

TIMEOUT_S = 1.0
MAX_TENANTS = 10_000
"""Tenants of which this process remembers that they are written down; more cost a command each now and then."""

_ADMIT = read_script("services.gateway.adapters", "admit", PRELUDE)
_REFUND = read_script("services.gateway.adapters", "refund", PRELUDE)


class RedisAdmissions:
    """`Admissions` over the ledger, with any number of gateways on the same Redis; time is Redis' own.

    Limits: a window is 60 sub-buckets and their sum. A call counts until the window has passed since the end of its
    sub-bucket: never are more than the limit within any window, and a call counts for at most a 60th longer. Of a
    limit a hash of at most 64 fields is kept, which expires with the window. A call that is refused counts nowhere.

    Budgets: used plus reserved is never above one, unless it was lowered below that. Calls of a day and month (UTC)
    belong to it until they end. A stale look goes by the stamps alone, not by age.

    What a call was admitted for that nobody waited for is given back: its refund is told until it is written, and finds
    the admission even where that is carried out later.
    """

    def __init__(self, redis: Redis, together: Together, *, timeout_s: float = TIMEOUT_S) -> None:
        self._together = together
        self._timeout_s = timeout_s
        self._refunds = Outbox(redis, "refunds")
        self._tenants: set[str] = set()

    async def admit(self, demand: Demand) -> Verdict:
        keys = [LedgerKeys(demand.tenant).prefix, tenant_stamps(demand.tenant)]
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._admit(demand, keys)
        except TimeoutError:
            self._give_back(demand)
            raise unavailable() from None
        except (UnavailableError, asyncio.CancelledError):
            self._give_back(demand)
            raise

    def refund(self, tenant: str, call_id: str) -> None:
        self._refunds.put(_REFUND, [LedgerKeys(tenant).prefix], [call_id, ""])

    async def aclose(self, within_s: float) -> None:
        """Tells the refunds that wait, for at most `within_s`."""
        await self._refunds.aclose(within_s)

    @property
    def waiting(self) -> int:
        """How many refunds are told and not written yet."""
        return len(self._refunds)

    async def _admit(self, demand: Demand, keys: list[str]) -> Verdict:
        if demand.tenant not in self._tenants:
            self._write_down(demand.tenant)
        # Issued in the tick of the script, so that they travel with it.
        stamps = self._together.send("HGETALL", MODELS) if demand.look else None
        if stamps:
            stamps.add_done_callback(_failed)
        state, said = await self._ask(demand, keys)
        return _verdict(state, said, _texts(await reached(stamps)) if stamps else None)

    async def _ask(self, demand: Demand, keys: list[str]) -> tuple[bytes, list[Any]]:
        """The state that the script tells, and what it says besides."""
        lapsed, state, *said = await _ADMIT(self._together, keys, _arguments(demand, with_prices=False))
        self._count_lapsed(demand, lapsed)
        if state == b"PRICES":
            lapsed, state, *said = await _ADMIT(self._together, keys, _arguments(demand, with_prices=True))
            self._count_lapsed(demand, lapsed)
        return state, said

    def _give_back(self, demand: Demand) -> None:
        leads = demand.look is not None and demand.look.leads
        if demand.worst is not None or leads:
            name = demand.look.name if demand.look and leads else ""
            self._refunds.put(_REFUND, [LedgerKeys(demand.tenant).prefix], [demand.call_id, name])

    def _write_down(self, tenant: str) -> None:
        """Adds the tenant to those that are swept: beside the call, as it is in another slot."""

        def written(answer: asyncio.Future[Any]) -> None:
            if not _failed(answer):
                if len(self._tenants) >= MAX_TENANTS:
                    self._tenants.clear()
                self._tenants.add(tenant)

        self._together.send("SADD", TENANTS, tenant).add_done_callback(written)

    def _count_lapsed(self, demand: Demand, lapsed: int) -> None:
        if lapsed:
            LAPSED.inc(lapsed)
            logs.warning("ledger", lapsed=lapsed, tenant=demand.tenant)


def _failed(answer: asyncio.Future[Any]) -> bool:
    """Whether a command that may not have been waited for failed; asked, so that asyncio does not complain."""
    return answer.cancelled() or answer.exception() is not None


def _arguments(demand: Demand, *, with_prices: bool) -> list[Any]:
    """As `admit.lua` takes them."""
    limits = _limits(demand)
    budgets = [part for budget in demand.budgets for part in (budget.name, budget.limit)]
    prices = _table(demand.prices) if with_prices else []
    return [
        *(demand.call_id, demand.key, demand.method, demand.limit_group, round(demand.lease_s * 1000)),
        *_look(demand),
        *_worst(demand),
        *(len(limits) // 4, len(budgets) // 2, len(prices)),
        *limits,
        *budgets,
        *prices,
    ]


def _limits(demand: Demand) -> list[Any]:
    parts: list[Any] = []
    if demand.counts:
        for limit in demand.limits:
            scope = _SCOPES.get(limit.name.partition("/")[0], _group)(demand)
            parts += (limit.name, f"{limit.window_s}:{scope}", limit.limit, limit.window_s * 1000)
    return parts


def _group(demand: Demand) -> str:
    return f"group/{demand.limit_group}"


_SCOPES: Mapping[str, Callable[[Demand], str]] = {
    "tenant": lambda _: "tenant",
    "key": lambda demand: f"key/{demand.key}",
}


def _look(demand: Demand) -> tuple[Any, ...]:
    look = demand.look
    if look is None:
        return ("", 0, 0, 0, 0)
    return (look.name, look.max_age_s * 1000, int(look.stale), int(look.leads), round(look.flight_s * 1000))


def _worst(demand: Demand) -> tuple[Any, ...]:
    worst = demand.worst
    if worst is None:
        return ("", "", "", "", "", 0)
    dearest = demand.prices.dearest
    return (
        worst.input_tokens,
        worst.output_tokens,
        dearest.input_nanos,
        dearest.output_nanos,
        demand.prices.version,
        int(demand.patient),
    )


def _table(prices: Prices) -> list[str]:
    parts = ["*", f"{prices.other.input_nanos}:{prices.other.output_nanos}"]
    for model, price in prices.models.items():
        parts += (model, f"{price.input_nanos}:{price.output_nanos}")
    return parts


def _verdict(state: bytes, said: list[Any], stamps: Mapping[str, str] | None) -> Verdict:
    if state == b"GONE":  # refunded before it was admitted: whoever asked for it has left
        raise unavailable()
    limit, remaining, reset_ms, *rest = said
    rate = None if limit == b"" else Rate(limit, remaining, _seconds(reset_ms))
    match state:
        case b"ADMITTED":
            allowance = int(rest[0]) if rest[0] else None
            return Verdict(Outcome.ADMITTED, allowance, rate, model_stamps=stamps)
        case b"ANSWERED":
            body, age_s, models = rest
            kept = KeptAnswer(body, age_s, _texts(dict(zip(models[::2], models[1::2], strict=True))))
            return Verdict(Outcome.ANSWERED, rate=rate, answer=kept, model_stamps=stamps)
        case b"WAIT":
            return Verdict(Outcome.WAIT, rate=rate, model_stamps=stamps)
        case b"HELD":
            return Verdict(Outcome.HELD, model_stamps=stamps)
        case b"RATE_LIMITED":
            name, wait_ms = rest
            return Verdict(Outcome.RATE_LIMITED, None, rate, name.decode(), wait_ms / 1000, model_stamps=stamps)
        case b"BUDGET_EXHAUSTED":
            name, wait_ms, ends_s = rest
            refused_by = name.decode()
            return Verdict(Outcome.BUDGET_EXHAUSTED, None, rate, refused_by, wait_ms / 1000, ends_s, None, stamps)
    raise AssertionError(f"admit.lua answers {state!r}")


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)


def _texts(fields: Mapping[bytes, bytes]) -> Mapping[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}
