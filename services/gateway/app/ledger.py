"""Asks the ledger, and decides what holds where it is not reached: limits and kept answers open, budgets closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from libs.errors.errors import UnavailableError
from libs.telemetry import logs, metrics
from services.gateway.ports import Admissions, Demand, Outcome, Verdict

UNASKED = Verdict(Outcome.ADMITTED)
"""Of a call that goes on although the ledger was not reached."""

FAILURES = 5
"""After so many in a row, and no answer in between, calls no longer wait for a ledger that does not answer."""
PAUSE_S = 0.25
"""How long after a failure nobody asks then. After that one call does, and the others go by what it finds."""
PROBE_S = 1.0
WAITS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)

_unreached = metrics.counter(
    "weft_gateway_ledger_unreached_total",
    "Calls whose admission did not reach the ledger, by what became of them: open (went on), closed (refused).",
    ["calls"],
)


class Ledger:
    """The ledger of `admissions`, or the policy in its place. `monotonic_s`: a clock that never steps."""

    def __init__(self, admissions: Admissions, monotonic_s: Callable[[], float]) -> None:
        self._admissions = admissions
        self._monotonic_s = monotonic_s
        self._failures = 0
        self._failure: UnavailableError | None = None
        self._ask_again_s = 0.0

    async def ask(self, demand: Demand) -> Verdict:
        """The verdict; UNASKED where the ledger was not reached and the call would not have been charged to a budget.

        Where calls under way hold what this one would use, waits for them a little (the sum of WAITS_S at most): a
        caller is not to be refused for the reservation of its own call before. Then what is left has to do.

        Raises UnavailableError (DEPENDENCY_UNAVAILABLE) where it would have been: a budget never goes over.
        """
        if demand.worst is not None and demand.budgets:
            patient = replace(demand, patient=True)
            for wait_s in WAITS_S:
                verdict = await self._ask(patient)
                if verdict.outcome is not Outcome.HELD:
                    return verdict
                await asyncio.sleep(wait_s)
        return await self._ask(demand)

    async def _ask(self, demand: Demand) -> Verdict:
        if self._failures >= FAILURES and self._failure is not None:
            now_s = self._monotonic_s()
            if now_s < self._ask_again_s:
                return _without(demand, self._failure)
            self._ask_again_s = now_s + PROBE_S
        try:
            verdict = await self._admissions.admit(demand)
        except UnavailableError as failure:
            if self._failure is None:
                logs.warning("ledger unreached", problem=failure.message)
            self._failures += 1
            self._failure = failure
            self._ask_again_s = self._monotonic_s() + PAUSE_S
            return _without(demand, failure)
        if self._failure is not None:
            self._failures, self._failure = 0, None
            logs.info("ledger reached again")
        return verdict


def _without(demand: Demand, failure: UnavailableError) -> Verdict:
    closed = demand.worst is not None and bool(demand.budgets)
    _unreached.labels(calls="closed" if closed else "open").inc()
    if not closed:
        return UNASKED
    raise UnavailableError(
        failure.reason, failure.message, metadata=failure.metadata, retry_after_s=failure.retry_after_s
    ) from failure
