"""Asks the ledger, and decides what holds where it is not reached: limits and kept answers open, budgets closed."""

from __future__ import annotations

from libs.errors.errors import UnavailableError
from libs.telemetry import logs, metrics
from services.gateway.ports import Admissions, Demand, Outcome, Verdict

UNASKED = Verdict(Outcome.ADMITTED)
"""Of a call that goes on although the ledger was not reached."""

_unreached = metrics.counter(
    "weft_gateway_ledger_unreached_total",
    "Calls whose admission did not reach the ledger, by what became of them: open (went on), closed (refused).",
    ["calls"],
)


class Ledger:
    """The ledger of `admissions`, or the policy in its place."""

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions
        self._reached = True

    async def ask(self, demand: Demand) -> Verdict:
        """The verdict; UNASKED where the ledger was not reached and the call would not have been charged to a budget.

        Raises UnavailableError (DEPENDENCY_UNAVAILABLE) where it would have been: a budget never goes over.
        """
        try:
            verdict = await self._admissions.admit(demand)
        except UnavailableError as error:
            closed = demand.worst is not None and bool(demand.budgets)
            _unreached.labels(calls="closed" if closed else "open").inc()
            if self._reached:
                self._reached = False
                logs.warning("ledger unreached", problem=error.message)
            if closed:
                raise
            return UNASKED
        if not self._reached:
            self._reached = True
            logs.info("ledger reached again")
        return verdict
