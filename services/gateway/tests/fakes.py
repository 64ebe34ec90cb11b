"""The gateway's ports without anything behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from libs.auth.tokens import Principal
from libs.contracts.policies import Cost, Method
from libs.errors.errors import Reason, UnauthenticatedError, UnavailableError
from libs.plans.plans import Budget, Plan, Plans, Price, Prices, RateLimit
from services.gateway.ports import (
    Admissions,
    Demand,
    Identities,
    KeptAnswer,
    KeptAnswers,
    Outcome,
    PlansInForce,
    Verdict,
)

METHOD = Method(
    path="/shop.v1.Shop/Read",
    service="shop.v1.Shop",
    name="Read",
    served_by="shop",
    scopes=("shop.read", "shop.list"),
    public=False,
    default_timeout_s=10.0,
    max_timeout_s=60.0,
    idempotent=True,
    retry=None,
    default_priority="normal",
    refusal="",
    limit_group="read",
    cost=None,
    cacheable=False,
    client_streaming=False,
    server_streaming=False,
)
COST = Cost(input_tokens_per_byte=2, input_tokens=10, output_tokens=100, bytes_per_token=0)
TENANT_LIMIT = RateLimit("tenant/minute", 100, 60)
KEY_LIMIT = RateLimit("key/minute", 10, 60)
GROUP_LIMIT = RateLimit("read/minute", 50, 60)
TENANT_BUDGET = Budget("tenant/day/tokens", 1000)
KEY_BUDGET = Budget("key/day/tokens", 100)


def plan(name: str = "standard", **said: object) -> Plan:
    """A plan without limits, but for what is said."""
    usual: dict[str, object] = {
        "tenant_limits": (),
        "key_limits": (),
        "group_limits": {},
        "tenant_budgets": (),
        "key_budgets": (),
        "highest_priority": "high",
        "may_fall_back": True,
        "open_calls": 10,
    }
    return Plan(name=name, **{**usual, **said})  # type: ignore[arg-type]


def plans(*known: Plan, default: Plan | None = None, tenants: Mapping[str, Plan] | None = None) -> Plans:
    """A settings file with these plans; the first one is everybody's where nothing else is said."""
    return Plans(
        version="1",
        plans={one.name: one for one in known},
        tenants=tenants or {},
        default_plan=default if tenants is not None else known[0],
        prices=Prices("1", "USD", {}, Price(1, 2)),
    )


class KnownTokens(Identities):
    """Knows its tokens by heart."""

    def __init__(self, **principals: Principal) -> None:
        self.principals = principals

    async def identify(self, credential: str, now_s: float) -> Principal:
        if credential not in self.principals or now_s >= self.principals[credential].expire_time_s:
            raise UnauthenticatedError(Reason.TOKEN_REFUSED, "not a known token")
        return self.principals[credential]


class PlansFixed(PlansInForce):
    """Plans that a test may exchange."""

    def __init__(self, current: Plans) -> None:
        self._current = current

    @property
    def current(self) -> Plans:
        return self._current

    def exchange(self, current: Plans) -> None:
        self._current = current


class ToldAdmissions(Admissions):
    """Says what it was told to say, in turn, the last again and again; None: it is not reached."""

    def __init__(self, *verdicts: Verdict | None) -> None:
        self.verdicts = list(verdicts or (Verdict(Outcome.ADMITTED),))
        self.demands: list[Demand] = []
        self.refunded: list[tuple[str, str]] = []

    async def admit(self, demand: Demand) -> Verdict:
        self.demands.append(demand)
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        if verdict is None:
            raise UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "no redis", metadata={"dependency": "redis"})
        return verdict

    def refund(self, tenant: str, call_id: str) -> None:
        self.refunded.append((tenant, call_id))


class AnswersInMemory(Admissions, KeptAnswers):
    """The ledger's part in kept answers, and the answers: nothing is limited or reserved. `now_s` is the time.

    `stamps`: what is current; those that begin with "model/" are told, as Redis does in another slot.
    `waits_s`: how long each was ready to wait.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._kept: dict[tuple[str, str], tuple[bytes, Mapping[str, str], float, float]] = {}
        self._flights: dict[tuple[str, str], str] = {}
        self._changed = asyncio.Event()
        self.stamps: dict[str, str] = {}
        self.demands: list[Demand] = []
        self.waiting = 0
        self.waits_s: list[float] = []
        self.down = False

    async def admit(self, demand: Demand) -> Verdict:
        self.demands.append(demand)
        if self.down:
            raise UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "no redis", metadata={"dependency": "redis"})
        look = demand.look
        if look is None:
            return Verdict(Outcome.ADMITTED)
        place = (demand.tenant, look.name)
        answer = self._find(place, look.max_age_s, look.stale)
        models = {name: stamp for name, stamp in self.stamps.items() if name.startswith("model/")}
        if answer is not None:
            return Verdict(Outcome.ANSWERED, answer=answer, model_stamps=models)
        if look.leads and self._flights.setdefault(place, demand.call_id) != demand.call_id:
            return Verdict(Outcome.WAIT)
        return Verdict(Outcome.ADMITTED, model_stamps=models)

    def _find(self, place: tuple[str, str], max_age_s: int, stale: bool) -> KeptAnswer | None:
        body, depends, made_s, until_s = self._kept.get(place, (b"", {}, 0.0, 0.0))
        age_s = int(self._now_s() - made_s)
        if place not in self._kept or not (stale or (self._now_s() < until_s and age_s <= max_age_s)):
            return None
        if any(self.stamps.get(name, "") != stamp for name, stamp in depends.items() if name[:6] != "model/"):
            return None
        return KeptAnswer(body, age_s, {name: stamp for name, stamp in depends.items() if name[:6] == "model/"})

    def refund(self, tenant: str, call_id: str) -> None:
        raise AssertionError("nothing is reserved here")

    async def keep(self, tenant: str, name: str, body: bytes, depends: Mapping[str, str], ttl_s: float) -> None:
        self._kept[tenant, name] = body, depends, self._now_s(), self._now_s() + ttl_s
        self._landed(tenant, name)

    async def give_up(self, tenant: str, name: str, call_id: str) -> None:
        if self._flights.get((tenant, name)) == call_id:
            self._landed(tenant, name)

    async def wait(self, tenant: str, name: str, within_s: float) -> None:
        self.waiting += 1
        self.waits_s.append(within_s)
        flight = self._flights.get((tenant, name))
        try:
            async with asyncio.timeout(within_s):
                while flight and self._flights.get((tenant, name)) == flight:
                    await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self.waiting -= 1

    def _landed(self, tenant: str, name: str) -> None:
        self._flights.pop((tenant, name), None)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
