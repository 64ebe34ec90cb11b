"""Budgets are exact with hundreds of calls at once: gateways and services beside each other, callers that vanish."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from libs.auth.context import CallContext
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.ledger.sweeper import LedgerSweeper
from libs.store.together import Together
from libs.telemetry import metrics
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.demands import (
    budgets,
    clear_of_midnight,
    context,
    demand,
    records,
    sums,
    today,
    tokens_of,
    written,
)
from services.gateway.ports import Outcome, Worst


async def usage(redis: Any, keys: LedgerKeys, day: str) -> Mapping[str, int]:
    """A day's usage over all keys, models and methods."""
    found: dict[str, int] = {}
    for name, value in (await redis.hgetall(keys.usage(0, day))).items():
        what = name.decode().rpartition("|")[2]
        found[what] = found.get(what, 0) + int(value)
    return found


async def test_hundreds_of_calls_at_once_never_pass_a_budget(redis: Any, tenant: str) -> None:
    """Four gateways, four services, calls that vanish, die or tell twice: at no moment is used plus reserved above the
    budget; in the end nothing is reserved, and used is to the token what executions told."""
    await clear_of_midnight(redis, 60.0)
    storm, refused_before = Storm(redis, tenant, random.Random(7)), refused()
    watching = asyncio.create_task(storm.watch())
    await asyncio.gather(*(storm.call() for _ in range(600)))
    storm.over = True
    await watching
    assert storm.admitted > 50
    assert storm.looks > 5
    await storm.end()
    assert refused() - refused_before == 0
    day = await today(redis)
    left = await sums(redis, tenant, day)
    assert not any(name.endswith("reserved") for name in left)
    assert storm.told_tokens == left["tenant:tokens:used"]
    assert storm.told_money == left["tenant:money:used"]
    told = await records(redis, tenant)
    assert storm.told_tokens == sum(map(tokens_of, told))
    assert storm.told_money == sum(int(record["cost"]) for record in told)
    summed = await usage(redis, storm.keys, day)
    assert storm.told_tokens == summed["input_tokens"] + summed["output_tokens"]
    assert (len(storm.told), storm.told_money) == (summed["executions"], summed["cost_nanos"])


class Storm:
    """Calls at once, and what executions told."""

    BUDGETS = budgets(tenant_day_tokens=30_000, key_day_tokens=12_000, tenant_day_money=1_200_000)

    def __init__(self, redis: Any, tenant: str, chance: random.Random) -> None:
        self.redis, self.tenant, self.chance = redis, tenant, chance
        self.keys = LedgerKeys(tenant)
        self.gateways = [RedisAdmissions(redis, Together(redis), timeout_s=30.0) for _ in range(4)]
        self.ledgers = [RedisLedger(redis, within_s=30.0) for _ in range(4)]
        self.told: dict[tuple[str, str], int] = {}
        self.told_money = 0
        self.late: list[tuple[CallContext, Execution]] = []
        self.admitted = 0
        self.looks = 0
        self.over = False

    @property
    def told_tokens(self) -> int:
        return sum(self.told.values())

    async def watch(self) -> None:
        """Looks at the budgets again and again."""
        day = await today(self.redis)
        while not self.over:
            found = await sums(self.redis, self.tenant, day)
            self.looks += 1
            for scope, unit, limit in (
                ("tenant", "tokens", 30_000),
                ("tenant", "money", 1_200_000),
                ("key/kim", "tokens", 12_000),
                ("key/lee", "tokens", 12_000),
                ("key/max", "tokens", 12_000),
            ):
                taken = found.get(f"{scope}:{unit}:used", 0) + found.get(f"{scope}:{unit}:reserved", 0)
                assert taken <= limit

    async def call(self) -> None:
        """One call, from its admission until it is closed, or not."""
        chance = self.chance
        await asyncio.sleep(chance.random())
        asked = demand(
            self.tenant,
            key=chance.choice(["kim", "lee", "max"]),
            budgets=self.BUDGETS,
            worst=Worst(chance.randrange(1, 300), chance.randrange(1, 300)),
        )
        admission = asyncio.ensure_future(chance.choice(self.gateways).admit(asked))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.005)
            admission.cancel()
        try:
            verdict = await admission
        except asyncio.CancelledError:
            return
        if verdict.outcome is not Outcome.ADMITTED:
            return
        self.admitted += 1
        assert verdict.allowance_tokens is not None
        call = context(asked, verdict.allowance_tokens)
        if chance.random() < 0.05:
            chance.choice(self.gateways).refund(self.tenant, call.call_id)
            return
        await self._work(call, verdict.allowance_tokens, asked.worst)

    async def _work(self, call: CallContext, allowance: int, worst: Worst | None) -> None:
        chance, ledger = self.chance, self.chance.choice(self.ledgers)
        assert worst is not None
        parts = chance.randrange(1, 4)
        dies = self.admitted % 10 == 0
        for part in range(parts):
            wrote = chance.randrange(1 + min(allowance, worst.output_tokens) // parts)
            read = chance.randrange(1 + min(allowance // parts - wrote, worst.input_tokens // parts))
            execution = Execution(f"/{part}", chance.choice(["small", "large", "another"]), read, wrote)
            ledger.begin(call, execution.execution_id)
            await asyncio.sleep(chance.random() * 0.05)
            if dies and part == parts - 1:
                self.late.append((call, execution))
                return
            self._expect(call, execution)
            again = chance.choice(self.ledgers).record(call, execution) if chance.random() < 0.2 else None
            await asyncio.gather(*filter(None, (ledger.record(call, execution), again)))
        if chance.random() < 0.9:
            await chance.choice(self.ledgers).close(call, [])

    def _expect(self, call: CallContext, execution: Execution) -> None:
        self.told[call.call_id, execution.execution_id] = execution.input_tokens + execution.output_tokens
        self.told_money += cost(execution)

    async def end(self) -> None:
        """Every refund is written, every lease ends, and then comes what had not been told."""
        for gateway in self.gateways:
            await gateway.aclose(10.0)
        for ledger in self.ledgers:
            await written(ledger)
        open_calls = await self.redis.zrange(self.keys.leases, 0, -1)
        await self.redis.zadd(self.keys.leases, dict.fromkeys(open_calls, 1))
        await LedgerSweeper(Together(self.redis)).sweep(self.tenant)
        before = await sums(self.redis, self.tenant, await today(self.redis))
        assert before["tenant:tokens:used"] > self.told_tokens
        for call, execution in self.late:
            self._expect(call, execution)
            await self.ledgers[0].record(call, execution)
        for ledger in self.ledgers:
            await ledger.aclose(10.0)


def refused() -> float:
    """How much Redis did not take: nothing may be."""
    return metrics.value("weft_store_outbox_dropped_total", outbox="ledger")


def cost(execution: Execution) -> int:
    per_input, per_output = {"small": (1, 2), "large": (30, 70)}.get(execution.model, (10, 20))
    return execution.input_tokens * per_input + execution.output_tokens * per_output
