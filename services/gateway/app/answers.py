"""Answers that are kept and given again: looked for when a call is admitted, made once for many equal calls, and given
past their time where the service cannot be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from libs.contracts import headers
from libs.telemetry import metrics
from services.gateway.app.ledger import UNASKED, Ledger
from services.gateway.domain.metadata import CacheControl
from services.gateway.ports import Demand, KeptAnswer, KeptAnswers, Look, Outcome, Verdict

HIT, MISS, BYPASS, STALE = "hit", "miss", "bypass", "stale"

_ANY_AGE = 2**31 - 1
_NONE = -1
_MOST_FLIGHTS = 3
"""A call waits for so many others to make its answer. If all of them failed, or made one that cannot be kept, the calls
that wait would else be served one after the other."""
_FLIGHT_S = 60.0
_MOST_STAMPS = 64

_answered = metrics.counter(
    "weft_gateway_cacheable_calls_total",
    "Calls of cacheable methods: hit, miss, bypass; and stale, which was a miss before.",
    ["cache"],
)


@dataclass(slots=True)
class Lookup:
    """What a call of a cacheable method has to do with kept answers. `answer`: the one that it is given.

    `leads`: others wait for this call's answer. `keeps`: its answer is to be kept.
    """

    name: str
    control: CacheControl
    demand: Demand
    told: list[tuple[str, str]]
    answer: KeptAnswer | None
    leads: bool
    keeps: bool


@dataclass(frozen=True, slots=True)
class Fresh:
    """What the service answered. `depends`: what it says that the answer depends on; empty: it is not to be kept."""

    body: bytes
    depends: str


class ServiceLost(Exception):
    """The service was not reached, was lost, or says that it is unavailable. `failure` is what a caller is told."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Answers:
    """Kept answers. `ttl_s`: how long one is given; `monotonic_s`: a clock that never steps."""

    def __init__(self, ledger: Ledger, kept: KeptAnswers, ttl_s: float, monotonic_s: Callable[[], float]) -> None:
        self._ledger = ledger
        self._kept = kept
        self._ttl_s = ttl_s
        self._monotonic_s = monotonic_s

    async def look(
        self, demand: Demand, request: bytes, control: CacheControl, within_s: float, told: list[tuple[str, str]]
    ) -> tuple[Verdict, Lookup, float]:
        """Asks the ledger for `demand`, and for an answer to `request` that will do.

        While another call is making the answer, this one waits, but not for more than half of `within_s`. Returns also
        how many seconds it waited. `told` gets what the answer is to say of it.
        """
        name = answer_name(demand.method, request)
        lookup = Lookup(name, control, demand, told, None, leads=False, keeps=control.may_keep)
        if control.takes_kept:
            verdict, waited_s = await self._look(lookup, within_s)
        else:
            verdict, waited_s = await self._ledger.ask(demand), 0.0
        lookup.keeps = lookup.keeps and verdict is not UNASKED
        if verdict.outcome is Outcome.ANSWERED and verdict.answer is not None:
            lookup.answer = verdict.answer
            _tell(told, HIT, verdict.answer.age_s)
        elif verdict.outcome is Outcome.ADMITTED:
            _tell(told, MISS if control.takes_kept else BYPASS)
        return verdict, lookup, waited_s

    async def answer(self, lookup: Lookup, ask: Callable[[], Awaitable[Fresh]]) -> bytes:
        """The kept answer that was found, or the one that `ask` makes, which is then kept where it may be.

        `ask` raises ServiceLost where the service cannot be asked: then an answer past its time will do, where nothing
        that it depends on has changed and the caller takes kept ones; else its `failure` is raised.
        """
        if lookup.answer is not None:
            return lookup.answer.body
        try:
            fresh = await ask()
            stamps = read_stamps(fresh.depends) if lookup.keeps else {}
            if stamps:
                await self._kept.keep(lookup.demand.tenant, lookup.name, fresh.body, stamps, self._ttl_s)
                lookup.leads = False  # Whoever waits is told.
            return fresh.body
        except ServiceLost as lost:
            stale = await self._stale(lookup)
            if stale is None:
                raise lost.failure from None
            return stale.body
        finally:
            if lookup.leads:
                lookup.leads = False
                await self._kept.give_up(lookup.demand.tenant, lookup.name, lookup.demand.call_id)

    async def _look(self, lookup: Lookup, within_s: float) -> tuple[Verdict, float]:
        oldest = _oldest(lookup.control)
        look = Look(lookup.name, oldest, flight_s=min(_FLIGHT_S, max(1.0, within_s)))
        demand = replace(lookup.demand, look=look)
        begin_s, flights, rate = self._monotonic_s(), 0, None
        waited_s = 0.0
        while True:
            verdict = await self._ledger.ask(demand)
            rate = rate or verdict.rate
            max_age_s = oldest
            if verdict.outcome is Outcome.WAIT:
                left_s = within_s / 2 - (self._monotonic_s() - begin_s)
                if left_s > 0:
                    waits_s = self._monotonic_s()
                    await self._kept.wait(demand.tenant, lookup.name, left_s)
                    waited_s += self._monotonic_s() - waits_s
                flights += 1
            elif verdict.outcome is Outcome.ANSWERED and not current(verdict):
                max_age_s = _NONE
            else:
                break
            alone = flights >= _MOST_FLIGHTS or self._monotonic_s() - begin_s >= within_s / 2
            demand = replace(demand, look=replace(look, max_age_s=max_age_s, leads=not alone), counts=False)
        lookup.leads = verdict.outcome is Outcome.ADMITTED and verdict is not UNASKED and _leads(demand)
        return (verdict if verdict.rate is rate else replace(verdict, rate=rate)), waited_s

    async def _stale(self, lookup: Lookup) -> KeptAnswer | None:
        if not lookup.control.takes_kept:
            return None
        look = Look(lookup.name, _oldest(lookup.control), stale=True, leads=False)
        # Under an id of its own: the call's stands for what is reserved for it.
        call_id = f"{lookup.demand.call_id}-stale"
        demand = replace(lookup.demand, call_id=call_id, limits=(), budgets=(), worst=None, look=look, counts=False)
        verdict = await self._ledger.ask(demand)
        answer = verdict.answer
        if answer is None or answer.age_s > look.max_age_s or not current(verdict):
            return None
        lookup.told[:] = [item for item in lookup.told if item[0] != headers.CACHE]
        _tell(lookup.told, STALE, answer.age_s)
        return answer


def answer_name(method: str, request: bytes) -> str:
    """What an answer is kept under within its tenant: the SHA-256 of the method's path and the request's bytes."""
    digest = hashlib.sha256(method.encode())
    digest.update(b"\x00")
    digest.update(request)
    return digest.hexdigest()


def current(verdict: Verdict) -> bool:
    """Whether the models that made a kept answer are those that would make it now."""
    now = verdict.model_stamps or {}
    made = verdict.answer.model_stamps if verdict.answer is not None else {}
    return all(now.get(name, "") == stamp for name, stamp in made.items())


def read_stamps(text: str) -> Mapping[str, str]:
    """The stamps in `weft-depends`, by their names; an empty one is of what is not there.

    None of them where one cannot be read: it could not be compared.
    """
    stamps: dict[str, str] = {}
    for item in text.split():
        name, _, stamp = item.rpartition("=")
        if not name or len(stamps) == _MOST_STAMPS:
            return {}
        stamps[name] = stamp
    return stamps


def _tell(told: list[tuple[str, str]], cache: str, age_s: int | None = None) -> None:
    _answered.labels(cache=cache).inc()
    told.append((headers.CACHE, cache))
    if age_s is not None:
        told.append((headers.AGE, str(age_s)))


def _oldest(control: CacheControl) -> int:
    return _ANY_AGE if control.max_age_s is None else min(control.max_age_s, _ANY_AGE)


def _leads(demand: Demand) -> bool:
    return demand.look is not None and demand.look.leads
