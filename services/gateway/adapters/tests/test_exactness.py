"""Budgets are exact in whatever order things happen: thousands of random steps, each compared with a plain model."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from libs.auth.context import CallContext
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.ledger.sweeper import LedgerSweeper
from libs.store.together import Together
from libs.telemetry import metrics
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.clock import ManualClock
from services.gateway.adapters.tests.demands import budgets, context, demand, records, sums, tokens_of, written
from services.gateway.adapters.tests.model import Model
from services.gateway.ports import Outcome, Worst

NEW_YEARS_EVE_MS = 1_798_761_600_000 - 3_600_000
GATEWAYS = 3
PLANS = (
    budgets(tenant_day_tokens=8000, key_month_money=400_000),
    budgets(tenant_day_tokens=9000, tenant_month_money=900_000, key_day_tokens=5000, key_day_money=240_000),
    budgets(tenant_month_tokens=20_000, tenant_day_money=200_000),
)
HOUR_MS = 3_600_000


class World:
    """Several gateways and services on one Redis, and the model beside them."""

    def __init__(self, redis: Redis, tenant: str, clock: ManualClock, chance: random.Random) -> None:
        self.redis, self.tenant, self.clock, self.chance = redis, tenant, clock, chance
        self.gateways = [RedisAdmissions(redis, Together(redis), timeout_s=10.0) for _ in range(GATEWAYS)]
        self.ledgers = [RedisLedger(redis, within_s=10.0) for _ in range(GATEWAYS)]
        self.sweeper = LedgerSweeper(Together(redis))
        self.model = Model()
        self.plan = PLANS[0]
        self.outcomes: Counter[Outcome] = Counter()

    async def admit(self) -> None:
        """The verdict, and what is allowed, are those of the model."""
        chance = self.chance
        if chance.random() < 0.05:
            self.plan = chance.choice(PLANS)
        asked = demand(
            self.tenant,
            key=chance.choice(["kim", "lee"]),
            budgets=self.plan,
            worst=Worst(chance.randrange(400), chance.randrange(400)),
            lease_s=chance.choice([30, 60, 600]),
        )
        expected = self.model.admit(asked)
        verdict = await chance.choice(self.gateways).admit(asked)
        self.outcomes[verdict.outcome] += 1
        assert (Outcome.ADMITTED if expected else Outcome.BUDGET_EXHAUSTED) == verdict.outcome
        assert (expected.allowance if expected else None) == verdict.allowance_tokens
        if expected:
            for budget in self.plan:
                assert self.model.taken(budget, asked.key, expected.day, expected.month) <= budget.limit

    async def begin(self) -> None:
        call, execution = self.any_execution()
        self.model.begin(call.call_id, execution)
        self.chance.choice(self.ledgers).begin(call, execution)

    async def record(self) -> None:
        """Within what the call may use; now and then once more, by another process."""
        call, execution = self.any_execution()
        known = self.model.calls[call.call_id]
        worst = known.demand.worst
        assert worst is not None
        most = known.tokens + known.lapsed_tokens
        model = self.chance.choice(["small", "large", "another"])
        read = self.chance.randrange(1 + min(most, worst.input_tokens) // 3)
        wrote = self.chance.randrange(1 + min(most - read, worst.output_tokens) // 3)
        for _ in range(self.chance.choice([1, 1, 2])):
            self.model.record(call.call_id, execution, model, read, wrote)
            await self.chance.choice(self.ledgers).record(call, Execution(execution, model, read, wrote))

    async def close(self) -> None:
        call, _ = self.any_execution()
        unseen = self.chance.choice([[], [], ["1"], ["2", "2.1"]])
        self.model.close(call.call_id, unseen)
        await self.chance.choice(self.ledgers).close(call, unseen)

    async def refund(self) -> None:
        call, _ = self.any_execution()
        self.model.refund(call.call_id)
        gateway = self.chance.choice(self.gateways)
        gateway.refund(self.tenant, call.call_id)
        await gateway.aclose(10.0)

    async def later(self) -> None:
        """Time passes, now and then past a lease or midnight; what was settled long ago is forgotten."""
        self.model.now_ms += round(self.chance.choice([100, 5_000, 40_000, 700_000]) * self.chance.random())
        await self.clock.set_ms(self.model.now_ms)
        self.model.forget(self.model.now_ms - HOUR_MS // 2)

    async def sweep(self) -> None:
        self.model.sweep()
        await self.sweeper.sweep(self.tenant)

    def any_execution(self) -> tuple[CallContext, str]:
        call = self.chance.choice(list(self.model.calls.values()))
        execution = self.chance.choice(["/1", "/2", "1/1", "2/1", "2.1/1", "2.1/2"])
        return context(call.demand, call.allowance, execution.partition("/")[0]), execution

    async def same_as_the_model(self) -> None:
        """Every sum in Redis is the model's."""
        for ledger in self.ledgers:
            await written(ledger)
        for period in list(self.model.budgets):
            assert self.model.sums(period) == await sums(self.redis, self.tenant, period)


@pytest.fixture
async def make_world(
    redis: Redis, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[int], World]]:
    """A world whose steps are drawn from a seed."""
    made: list[World] = []
    refused_before = refused()

    def make(seed: int) -> World:
        made.append(World(redis, tenant, ManualClock(redis, monkeypatch, tenant), random.Random(seed)))
        return made[-1]

    yield make
    for world in made:
        assert refused() - refused_before == 0
        for ledger in world.ledgers:
            await ledger.aclose(10.0)


@pytest.mark.parametrize("seed", range(5))
async def test_every_step_leaves_what_the_model_has(make_world: Callable[[int], World], seed: int) -> None:
    """Admissions, records, closes, refunds, sweeps and plan changes in random order, over midnight at the year's end:
    each verdict and each sum is the model's, and in the end nothing is reserved and used is the sum of the records."""
    world = make_world(seed)
    model = world.model
    model.now_ms = NEW_YEARS_EVE_MS
    await world.later()
    steps = [world.admit, world.begin, world.record, world.close, world.refund, world.later, world.sweep]
    for _ in range(800):
        [step] = world.chance.choices(steps, [6, 6, 6, 3, 0.5, 3, 1])
        if model.calls or step in (world.admit, world.later, world.sweep):
            await step()
            await world.same_as_the_model()
    assert model.lapses > 0
    await everything_ends(world)
    await world.same_as_the_model()
    keys = LedgerKeys(world.tenant)
    assert await world.redis.zcard(keys.leases) == 0
    months = [period for period in model.budgets if len(period) == 6]
    assert {"202612", "202701"} == set(months)
    used = [await sums(world.redis, world.tenant, month) for month in months]
    assert not any(name.endswith("reserved") for month in used for name in month)
    model.forget(model.now_ms + 1)
    used_tokens = sum(month.get("tenant:tokens:used", 0) for month in used)
    assert model.recorded_tokens + model.never_told == used_tokens
    assert used_tokens == sum(map(tokens_of, await records(world.redis, world.tenant)))
    assert min(world.outcomes.values()) > 20


async def everything_ends(world: World) -> None:
    """Executions that are under way tell what they used, then every lease ends."""
    for call in list(world.model.calls.values()):
        for execution, state in list(call.executions.items()):
            if state == "begun":
                world.model.record(call.demand.call_id, execution, "small", 0, 0)
                told = context(call.demand, call.allowance)
                await world.ledgers[0].record(told, Execution(execution, "small", 0, 0))
    world.model.now_ms += 700_000
    await world.clock.set_ms(world.model.now_ms)
    await world.sweep()


def refused() -> float:
    """How much Redis did not take: nothing may be."""
    return metrics.value("weft_store_outbox_dropped_total", outbox="ledger")
