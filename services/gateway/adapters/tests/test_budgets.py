"""Budgets and reservations, over the real store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.plans.plans import Price, Prices
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.clock import ManualClock
from services.gateway.adapters.tests.demands import (
    PRICES,
    budgets,
    clear_of_midnight,
    context,
    demand,
    records,
    sums,
    today,
)
from services.gateway.ports import Outcome, Verdict, Worst

BEFORE_MIDNIGHT_MS = 1_801_439_990_000
"""31 January 2027, ten seconds before its end (UTC)."""
DAY_MS = 86_400_000


@pytest.fixture
def ledger(redis: Redis) -> RedisLedger:
    """What a service records with."""
    return RedisLedger(redis, within_s=10.0)


async def test_without_budgets_nothing_bounds_a_call(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """A call without budgets has no allowance, and its worst case is reserved all the same: a budget may come."""
    await clear_of_midnight(redis)
    verdict = await admissions.admit(demand(tenant))
    assert verdict == Verdict(Outcome.ADMITTED)
    expected = {"tokens:reserved": 150, "money:reserved": 100 * 30 + 50 * 70}
    expected = {f"{scope}:{name}": value for scope in ("tenant", "key/kim") for name, value in expected.items()}
    assert expected == await sums(redis, tenant, await today(redis))


async def test_a_call_without_a_cost_reserves_nothing(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """Nothing is kept of a call that uses nothing."""
    asked = demand(tenant, worst=None, budgets=budgets(tenant_day_tokens=0))
    assert Verdict(Outcome.ADMITTED) == await admissions.admit(asked)
    assert not await redis.exists(LedgerKeys(tenant).call(asked.call_id), LedgerKeys(tenant).leases)


@pytest.mark.parametrize(
    ("named", "allowances"),
    [
        ({"tenant_day_tokens": 400}, [150, 150, 100]),
        ({"tenant_month_tokens": 151}, [150, 1]),
        ({"key_day_money": 6500 + 70 * 9 + 69}, [150, 9]),
        ({"tenant_month_money": 6500}, [150]),
        ({"tenant_month_money": 6499}, [92]),
        ({"tenant_day_tokens": 200, "key_day_money": 6500 + 70 * 20}, [150, 20]),
        ({"tenant_day_tokens": 200, "key_day_money": 6500 + 69}, [150]),
    ],
    ids=lambda value: str(value),
)
async def test_the_allowance_is_what_is_left(
    redis: Redis, admissions: RedisAdmissions, tenant: str, named: dict[str, int], allowances: list[int]
) -> None:
    """The worst case while it is there, then what is left of the tightest budget (money at the dearest price), then
    none: a refusal that names the budget and is worth another try in a second, as the others may use less."""
    await clear_of_midnight(redis)
    given = []
    while (verdict := await admissions.admit(demand(tenant, budgets=budgets(**named)))).outcome is Outcome.ADMITTED:
        given.append(verdict.allowance_tokens)
    assert allowances == given
    assert verdict.refused_by.replace("/", "_") in named
    assert verdict.retry_after_s == 1.0


async def test_what_is_used_up_comes_back_when_the_period_ends(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget that is used, not reserved, is told to be back at the end of its day or month, UTC; a day's then is."""
    clock = ManualClock(redis, monkeypatch, tenant)
    await clock.set_ms(BEFORE_MIDNIGHT_MS - DAY_MS)
    spent = demand(tenant, budgets=budgets(tenant_day_tokens=150, tenant_month_tokens=300))
    call = context(spent, (await admissions.admit(spent)).allowance_tokens)
    await ledger.record(call, Execution("/1", "small", 100, 50))
    await ledger.close(call, [])
    refused = await admissions.admit(replace(spent, call_id="second"))
    midnight_s = (BEFORE_MIDNIGHT_MS + 10_000) / 1000
    assert ("tenant/day/tokens", 10.0, midnight_s - 86400) == (
        refused.refused_by,
        refused.retry_after_s,
        refused.reset_unix_s,
    )
    await clock.set_ms(BEFORE_MIDNIGHT_MS)
    next_day = replace(spent, call_id="third")
    assert (await admissions.admit(next_day)).allowance_tokens == 150
    await ledger.record(context(next_day, 150), Execution("/1", "small", 100, 50))
    refused = await admissions.admit(replace(spent, call_id="fourth"))
    assert (Outcome.BUDGET_EXHAUSTED, midnight_s) == (refused.outcome, refused.reset_unix_s)
    await clock.set_ms(BEFORE_MIDNIGHT_MS + 10_000)
    assert (await admissions.admit(replace(spent, call_id="fifth"))).allowance_tokens == 150


async def test_a_call_belongs_to_the_day_of_its_reservation(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is used after midnight, of a month too, is charged where it was reserved; and the record says so."""
    clock = ManualClock(redis, monkeypatch, tenant)
    await clock.set_ms(BEFORE_MIDNIGHT_MS)
    asked = demand(tenant, budgets=budgets(tenant_day_tokens=1000))
    call = context(asked, (await admissions.admit(asked)).allowance_tokens)
    await clock.set_ms(BEFORE_MIDNIGHT_MS + 60_000)
    await ledger.record(call, Execution("/1", "small", 7, 5))
    await ledger.close(call, [])
    for period in ("20270131", "202701"):
        assert {
            name: value for name, value in (await sums(redis, tenant, period)).items() if name.startswith("tenant")
        } == {"tenant:tokens:used": 12, "tenant:money:used": 17}
    assert [record["day"] for record in await records(redis, tenant)] == ["20270131"]
    assert not await redis.exists(LedgerKeys(tenant).budget("20270201"), LedgerKeys(tenant).usage(0, "20270201"))


async def test_periods_that_are_long_past_go(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums have no expiry, and are taken away when a new period begins: days after two days, months after two months,
    usage after 400 days."""
    clock = ManualClock(redis, monkeypatch, tenant)
    keys = LedgerKeys(tenant)

    async def left_after(days: int) -> list[str]:
        await clock.set_ms(BEFORE_MIDNIGHT_MS + days * DAY_MS)
        asked = demand(tenant)
        await admissions.admit(asked)
        await ledger.record(context(asked), Execution("/1", "small", 1, 1))
        await ledger.close(context(asked), [])
        first = (keys.budget("20270131"), keys.budget("202701"), keys.usage(0, "20270131"))
        assert await redis.pttl(keys.usage(0, "20270131")) == -1 or days > 400
        return [key.removeprefix(keys.prefix) for key in first if await redis.exists(key)]

    day, month, usage = ":budget:20270131", ":budget:202701", ":usage:0:20270131"
    assert [day, month, usage] == await left_after(0)
    assert [day, month, usage] == await left_after(2)
    assert [month, usage] == await left_after(3)
    assert [month, usage] == await left_after(57)
    assert [usage] == await left_after(61)
    assert [usage] == await left_after(400)
    assert await left_after(401) == []


async def test_a_lower_budget_holds_at_once(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """When the plan changes between two calls, what is reserved under the old one counts against the new one."""
    await clear_of_midnight(redis)
    assert (await admissions.admit(demand(tenant))).outcome == Outcome.ADMITTED
    less = await admissions.admit(demand(tenant, budgets=budgets(tenant_day_tokens=200)))
    none = await admissions.admit(demand(tenant, budgets=budgets(tenant_day_tokens=100)))
    more = await admissions.admit(demand(tenant, budgets=budgets(tenant_day_tokens=1000)))
    assert [verdict.allowance_tokens for verdict in (less, none, more)] == [50, None, 150]
    assert none.outcome == Outcome.BUDGET_EXHAUSTED


async def test_a_call_is_charged_by_the_prices_of_its_admission(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """New prices are of calls that come after them; two gateways with different settings do not disturb each other."""
    await clear_of_midnight(redis)
    dear = Prices("prices-2", "EUR", {"small": Price(1000, 2000)}, Price(10, 20))
    costs = []
    for prices in (PRICES, dear, PRICES, dear):
        asked = demand(tenant, prices=prices)
        await admissions.admit(asked)
        costs.append((asked, prices))
    for asked, _ in costs:
        await ledger.record(context(asked), Execution("/1", "small", 3, 4))
        await ledger.record(context(asked), Execution("/2", "unheard of", 1, 1))
    charged = [int(record["cost"]) for record in await records(redis, tenant)]
    assert charged == [11, 30, 11_000, 30, 11, 30, 11_000, 30]


async def test_prices_that_are_no_longer_in_use_go(redis: Redis, admissions: RedisAdmissions, tenant: str) -> None:
    """Only the version of the prices that is in use stays for good: others go when their calls are long over."""
    keys = LedgerKeys(tenant)
    newer = replace(PRICES, version="newer")
    expiries = []
    for prices in (PRICES, newer, PRICES):
        await admissions.admit(demand(tenant, prices=prices))
        expiries.append([await redis.ttl(keys.prices(version)) for version in (PRICES.version, newer.version)])
    in_use, missing, two_days = -1, -2, 172_800
    assert expiries[0] == [in_use, missing]
    assert expiries[1][1] == expiries[2][0] == in_use
    assert two_days - 60 < expiries[1][0] <= two_days
    assert two_days - 60 < expiries[2][1] <= two_days


async def test_thousands_of_models_have_their_prices(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """A long table is sent once, and kept whole."""
    await clear_of_midnight(redis)
    many = Prices("many", "EUR", {f"model-{number}": Price(number, 0) for number in range(9000)}, Price(0, 0))
    asked = demand(tenant, prices=many)
    await admissions.admit(asked)
    for number in (0, 499, 500, 8999):
        await ledger.record(context(asked), Execution(f"/{number}", f"model-{number}", 1, 0))
    assert [int(record["cost"]) for record in await records(redis, tenant)] == [0, 499, 500, 8999]


async def test_large_sums_stay_whole(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """Millions of units of money are counted to the nano."""
    await clear_of_midnight(redis)
    prices = Prices("gold", "EUR", {}, Price(1_000_000_001, 1))
    asked = demand(tenant, prices=prices, worst=Worst(4_000_000, 1), budgets=budgets(tenant_day_money=2**53 - 1))
    assert (await admissions.admit(asked)).allowance_tokens == 4_000_001
    await ledger.record(context(asked, 4_000_001), Execution("/1", "any", 3_999_999, 1))
    found = await sums(redis, tenant, await today(redis))
    assert found["tenant:money:used"] == 3_999_999 * 1_000_000_001 + 1
    assert found["tenant:money:reserved"] == 1_000_000_001


async def test_a_patient_call_is_held_for_what_others_may_give_back(
    redis: Redis, admissions: RedisAdmissions, ledger: RedisLedger, tenant: str
) -> None:
    """While a call under way holds what a patient one would use, that one is held and nothing is reserved or counted;
    one that is not patient takes what is left. What is used up is nothing to wait for."""
    await clear_of_midnight(redis)
    of_day = budgets(tenant_day_tokens=200)
    first, patient = demand(tenant, budgets=of_day), demand(tenant, budgets=of_day, patient=True)
    assert (await admissions.admit(first)).allowance_tokens == 150
    assert await admissions.admit(patient) == Verdict(Outcome.HELD)
    assert not await redis.exists(LedgerKeys(tenant).call(patient.call_id))
    await ledger.record(context(first), Execution("/1", "small", 60, 0))
    await ledger.close(context(first), [])
    assert (await admissions.admit(patient)).allowance_tokens == 140

    impatient = replace(patient, call_id="another", patient=False)
    refused = await admissions.admit(impatient)
    assert (refused.outcome, refused.retry_after_s) == (Outcome.BUDGET_EXHAUSTED, 1.0)
    await ledger.record(context(patient), Execution("/1", "small", 140, 0))
    await ledger.close(context(patient), [])
    assert (await admissions.admit(replace(patient, call_id="third"))).outcome is Outcome.BUDGET_EXHAUSTED
