"""What calls do while the ledger does not answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.errors.errors import Reason, UnavailableError
from services.gateway.app.ledger import FAILURES, PAUSE_S, UNASKED, WAITS_S, Ledger
from services.gateway.ports import Demand, Outcome, Verdict, Worst
from services.gateway.tests.fakes import METHOD, TENANT_BUDGET, ToldAdmissions, plan, plans

OPEN = Demand(
    tenant="acme",
    key="kim",
    call_id="c",
    method=METHOD.path,
    limit_group="read",
    limits=(),
    budgets=(),
    worst=Worst(1, 1),
    prices=plans(plan()).prices,
    lease_s=10.0,
)
CLOSED = replace(OPEN, budgets=(TENANT_BUDGET,))
GOOD = Verdict(Outcome.ADMITTED, 7)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_few_failures_change_nothing() -> None:
    """Every call asks, until there were five failures in a row; one answer in between counts for all before it."""
    admissions = ToldAdmissions(*[None] * (FAILURES - 1), GOOD, *[None] * (FAILURES - 1), GOOD)
    ledger = Ledger(admissions, Clock())
    for _ in range(2):
        assert [await ledger.ask(OPEN) for _ in range(FAILURES)] == [UNASKED] * (FAILURES - 1) + [GOOD]


async def test_nobody_waits_for_a_ledger_that_does_not_answer() -> None:
    """After five failures calls are decided without it: those that may go on do, those of budgets are refused."""
    admissions, clock = ToldAdmissions(None), Clock()
    ledger = Ledger(admissions, clock)
    for _ in range(FAILURES):
        await ledger.ask(OPEN)
    assert await ledger.ask(OPEN) is UNASKED
    with pytest.raises(UnavailableError) as refused:
        await ledger.ask(CLOSED)
    assert (refused.value.reason, refused.value.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "redis"})
    assert len(admissions.demands) == FAILURES


async def test_one_call_looks_whether_it_is_back() -> None:
    """After a pause a single call asks, while the others still go by the last failure; its answer opens the way."""
    asked, answered = asyncio.Event(), asyncio.Event()

    class Slow(ToldAdmissions):
        async def admit(self, demand: Demand) -> Verdict:
            if len(self.demands) == FAILURES:
                asked.set()
                await answered.wait()
            return await super().admit(demand)

    admissions, clock = Slow(*[None] * FAILURES, GOOD), Clock()
    ledger = Ledger(admissions, clock)
    for _ in range(FAILURES):
        await ledger.ask(OPEN)
    clock.now_s += PAUSE_S
    probe = asyncio.create_task(ledger.ask(CLOSED))
    await asked.wait()
    assert await ledger.ask(OPEN) is UNASKED
    answered.set()
    assert await probe is GOOD
    assert await ledger.ask(CLOSED) is GOOD


async def test_a_look_that_fails_begins_the_pause_anew() -> None:
    """As long as it is down, one call in each pause waits for it."""
    admissions, clock = ToldAdmissions(None), Clock()
    ledger = Ledger(admissions, clock)
    for _ in range(FAILURES):
        await ledger.ask(OPEN)
    for looks in (1, 2, 3):
        clock.now_s += PAUSE_S
        for _ in range(10):
            await ledger.ask(OPEN)
        assert len(admissions.demands) == FAILURES + looks


async def test_a_call_waits_a_little_for_what_others_hold() -> None:
    """Where calls under way hold what a budget has left it asks again; it is patient to the end, then takes what is."""
    held = Verdict(Outcome.HELD)
    admissions = ToldAdmissions(held, held, GOOD)
    assert await Ledger(admissions, Clock()).ask(CLOSED) == GOOD
    assert [asked.patient for asked in admissions.demands] == [True, True, True]

    admissions = ToldAdmissions(*[held] * len(WAITS_S), GOOD)
    assert await Ledger(admissions, Clock()).ask(CLOSED) == GOOD
    assert [asked.patient for asked in admissions.demands] == [True] * len(WAITS_S) + [False]
