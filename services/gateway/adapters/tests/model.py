"""The ledger in plain Python, one step after the other: what the scripts are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from libs.plans.plans import Budget
from services.gateway.adapters.tests.demands import PRICES
from services.gateway.ports import Demand

SWEPT_AT_ADMISSION = 16


@dataclass
class Call:
    """A call that was admitted."""

    demand: Demand
    day: str
    month: str
    ends_ms: int
    tokens: int
    money: int
    allowance: int | None
    lapsed_tokens: int = 0
    lapsed_money: int = 0
    executions: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    unseen: set[str] = field(default_factory=set)
    settled_ms: int | None = None

    @property
    def running(self) -> int:
        return sum(state == "begun" for state in self.executions.values())


class Model:
    """Budgets by period and field, and the calls under way."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.calls: dict[str, Call] = {}
        self.budgets: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.recorded_tokens = 0
        self.recorded_money = 0
        self.lapses = 0
        self.never_told = 0
        """Tokens that were charged at a lease's end, of calls that are forgotten."""

    def admit(self, demand: Demand) -> Call | None:
        """The call, or None where a budget refuses it."""
        self.sweep(SWEPT_AT_ADMISSION)
        now = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        day, month = now.strftime("%Y%m%d"), now.strftime("%Y%m")
        assert demand.worst is not None
        dearest = PRICES.dearest
        tokens = demand.worst.input_tokens + demand.worst.output_tokens
        money = demand.worst.input_tokens * dearest.input_nanos + demand.worst.output_tokens * dearest.output_nanos
        dear = max(dearest.input_nanos, dearest.output_nanos)
        for budget in demand.budgets:
            left = budget.limit - self.taken(budget, demand.key, day, month)
            enough = budget.name.endswith("money") and left >= money
            most = tokens + 1 if enough else left // (dear if budget.name.endswith("money") else 1)
            if most < 1:
                return None
            tokens = min(tokens, most)
        call = Call(
            demand,
            day,
            month,
            self.now_ms + round(demand.lease_s * 1000),
            tokens,
            min(money, tokens * dear),
            tokens if demand.budgets else None,
        )
        self.calls[demand.call_id] = call
        self._change(call, 0, call.tokens, 0, call.money)
        return call

    def taken(self, budget: Budget, key: str, day: str, month: str) -> int:
        """Used and reserved of a budget."""
        scope, period, unit = budget.name.split("/")
        name = "tenant" if scope == "tenant" else f"key/{key}"
        sums = self.budgets[day if period == "day" else month]
        return sums[f"{name}:{unit}:used"] + sums[f"{name}:{unit}:reserved"]

    def begin(self, call_id: str, execution: str) -> None:
        self.calls[call_id].executions.setdefault(execution, "begun")

    def record(self, call_id: str, execution: str, model: str, input_tokens: int, output_tokens: int) -> None:
        call = self.calls[call_id]
        if call.executions.get(execution) == "ended":
            return
        price = PRICES.models.get(model, PRICES.other)
        tokens = input_tokens + output_tokens
        money = input_tokens * price.input_nanos + output_tokens * price.output_nanos
        self.recorded_tokens += tokens
        self.recorded_money += money
        reserved, reserved_money = min(call.tokens, tokens), min(call.money, money)
        lapsed, lapsed_money = min(call.lapsed_tokens, tokens), min(call.lapsed_money, money)
        call.tokens -= reserved
        call.money -= reserved_money
        call.lapsed_tokens -= lapsed
        call.lapsed_money -= lapsed_money
        self._change(call, tokens - lapsed, -reserved, money - lapsed_money, -reserved_money)
        call.executions[execution] = "ended"
        call.unseen = {path for path in call.unseen if not _under(execution, path)}
        self._settle_if_over(call)

    def close(self, call_id: str, unseen: Sequence[str]) -> None:
        call = self.calls[call_id]
        ended = [execution for execution, state in call.executions.items() if state == "ended"]
        call.closed = True
        call.unseen = {path for path in unseen if not any(_under(execution, path) for execution in ended)}
        self._settle_if_over(call)

    def refund(self, call_id: str) -> None:
        call = self.calls[call_id]
        if call.settled_ms is None and not call.running:
            self._release(call)

    def sweep(self, limit: int = 10**9) -> None:
        due = [call for call in self.calls.values() if call.settled_ms is None and call.ends_ms <= self.now_ms]
        for call in sorted(due, key=lambda call: (call.ends_ms, call.demand.call_id))[:limit]:
            if call.running:
                self.lapses += 1
                call.lapsed_tokens, call.lapsed_money = call.tokens, call.money
                self._change(call, call.tokens, 0, call.money, 0)
            self._release(call)

    def forget(self, before_ms: int) -> None:
        """Forgets calls that were settled before then: nothing comes of them any more."""
        for call_id, call in list(self.calls.items()):
            if call.settled_ms is not None and call.settled_ms < before_ms:
                self.never_told += call.lapsed_tokens
                del self.calls[call_id]

    def sums(self, period: str) -> Mapping[str, int]:
        """A period's budgets; what is 0 is left out."""
        return {name: value for name, value in self.budgets[period].items() if value}

    def _settle_if_over(self, call: Call) -> None:
        if call.running:
            return
        if call.settled_ms is None:
            if call.closed and not call.unseen:
                self._release(call)
        else:
            self._change(call, -call.lapsed_tokens, 0, -call.lapsed_money, 0)
            call.lapsed_tokens = call.lapsed_money = 0

    def _release(self, call: Call) -> None:
        self._change(call, 0, -call.tokens, 0, -call.money)
        call.tokens = call.money = 0
        call.settled_ms = self.now_ms

    def _change(self, call: Call, used: int, reserved: int, used_money: int, reserved_money: int) -> None:
        for period in (call.day, call.month):
            for scope in ("tenant", f"key/{call.demand.key}"):
                sums = self.budgets[period]
                sums[f"{scope}:tokens:used"] += used
                sums[f"{scope}:tokens:reserved"] += reserved
                sums[f"{scope}:money:used"] += used_money
                sums[f"{scope}:money:reserved"] += reserved_money


def _under(execution: str, path: str) -> bool:
    return execution.startswith((f"{path}/", f"{path}."))
