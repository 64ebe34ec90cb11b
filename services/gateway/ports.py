"""What the gateway's use cases need of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Protocol

from libs.auth.tokens import Principal
from libs.plans.plans import Budget, Plans, Prices, RateLimit
from services.gateway.domain.api_keys import ApiKey, KeyText
from services.gateway.domain.usage import Days, Slice, Used


class Identities(Protocol):
    """Tells who a caller's credential speaks for: a token or an API key."""

    async def identify(self, credential: str, now_s: float) -> Principal:
        """Raises UnauthenticatedError TOKEN_MALFORMED, TOKEN_EXPIRED or TOKEN_REFUSED; UnavailableError
        (DEPENDENCY_UNAVAILABLE) where that cannot be told now."""
        ...


class PlansInForce(Protocol):
    """The settings file as it is in force."""

    @property
    def current(self) -> Plans: ...


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that a call can use. None of it: nothing is reserved."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Look:
    """A look for a kept answer. `name`: digest of method and request.

    `max_age_s`: most `KeptAnswer.age_s` that will do; -1: none will do. `stale`: an answer past the `ttl_s` that it was
    kept with will do, one past its stamps never.
    `leads`: with a miss the call becomes the one that makes the answer, for `flight_s`; others then WAIT. Without, it
    neither becomes that one nor waits for another.
    """

    name: str
    max_age_s: int
    stale: bool = False
    leads: bool = True
    flight_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one call asks of the ledger. `counts`: it was not counted against the limits before.

    `lease_s`: from now, when the reservation ends by itself. `patient`: it would rather be HELD than have less than
    there is without the reservations of calls under way.
    """

    tenant: str
    key: str
    call_id: str
    method: str
    limit_group: str
    limits: tuple[RateLimit, ...]
    budgets: tuple[Budget, ...]
    worst: Worst | None
    prices: Prices
    lease_s: float
    look: Look | None = None
    counts: bool = True
    patient: bool = False


class Outcome(Enum):
    """What became of a demand."""

    ADMITTED = "admitted"
    ANSWERED = "answered"
    WAIT = "wait"
    """Another call is making the same answer now."""
    HELD = "held"
    """Calls under way have reserved what this one would use, and may give it back soon. Nothing was counted."""
    RATE_LIMITED = "rate limited"
    BUDGET_EXHAUSTED = "budget exhausted"


@dataclass(frozen=True, slots=True)
class Rate:
    """The limit of which least is left: how many calls are, and in how many seconds there is one more."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that was kept. `model_stamps` are those that it depends on: whoever gives it compares them."""

    body: bytes
    age_s: int
    model_stamps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger says. `refused_by` names the limit or the budget; `reset_s` is when a budget's period ends.

    `allowance_tokens`: most that the call may use; None: no bound.
    """

    outcome: Outcome
    allowance_tokens: int | None = None
    rate: Rate | None = None
    refused_by: str = ""
    retry_after_s: float = 0.0
    reset_unix_s: float = 0.0
    answer: KeptAnswer | None = None
    model_stamps: Mapping[str, str] | None = None
    """The models' stamps as they are now; with a look only."""


class Admissions(Protocol):
    """The gateway's side of the ledger."""

    async def admit(self, demand: Demand) -> Verdict:
        """Counts, looks and reserves, all or nothing, in one round trip. Raises UnavailableError
        (DEPENDENCY_UNAVAILABLE, dependency redis) where the ledger was not reached within its timeout.

        Whoever is cancelled while it waits, or is told UnavailableError, has nothing reserved and makes no answer that
        others wait for: what was reserved is given back.
        """
        ...

    def refund(self, tenant: str, call_id: str) -> None:
        """The call never began: gives back what is reserved for it. Returns at once; is told until it is written."""
        ...


class KeptAnswers(Protocol):
    """Answers that may be given again. Never raises: a store that is down keeps nothing."""

    async def keep(self, tenant: str, name: str, body: bytes, depends: Mapping[str, str], ttl_s: float) -> None:
        """Keeps an answer and lets those who wait for it look again."""
        ...

    async def give_up(self, tenant: str, name: str, call_id: str) -> None:
        """The call makes no answer: another one may."""
        ...

    async def wait(self, tenant: str, name: str, within_s: float) -> None:
        """Returns when the answer may be there, or nobody makes it any more, or `within_s` are over."""
        ...


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """What calls have used of a budget, and what calls under way may still use."""

    used: int
    reserved: int


@dataclass(frozen=True, slots=True)
class BudgetName:
    """A budget of one period: `scope` is "tenant" or "key/ID", `period` YYYYMMDD or YYYYMM, `unit` tokens or money."""

    scope: str
    period: str
    unit: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many records were read, and the first day that was made again; None: there were no records."""

    records: int
    first_day: date | None


class UsageLedger(Protocol):
    """What the ledger says of usage. All raise UnavailableError (DEPENDENCY_UNAVAILABLE, dependency redis)."""

    async def now_s(self) -> float:
        """The ledger's time (Unix): the one that calls' days are of."""
        ...

    def used(self, tenant: str, days: Days) -> AsyncIterator[tuple[date, Mapping[Slice, Used]]]:
        """The days' sums, in their order. A day without usage may be left out."""
        ...

    async def tenants(self, *, after: str, limit: int) -> Sequence[str]:
        """Those who ever had a call admitted, by name: the first `limit` of them after `after`."""
        ...

    async def budgets(self, tenant: str, names: Sequence[BudgetName]) -> Sequence[BudgetUse]:
        """Of each budget that is named, in that order."""
        ...

    async def rebuild(self, tenant: str) -> Rebuilt:
        """Makes the sums again from the records, while calls go on. Days whose records are not all kept stay as they
        are. Two at a time, and one that is broken off, do no harm."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Which request makes an API key: its id, and a digest of who asks for what (64 characters). Empty: without id."""

    request_id: str = ""
    fingerprint: str = ""


class KeyRecords(Protocol):
    """API keys as callers present them."""

    async def find(self, tenant: str, key_id: str) -> tuple[ApiKey, bytes] | None:
        """A key with the digest of its text, ended or not; None where there is none. Raises UnavailableError."""
        ...

    def note_use(self, key: ApiKey, now_s: float) -> None:
        """The key was used now (Unix time). Returns at once, and never raises."""
        ...


class ApiKeys(KeyRecords, Protocol):
    """The API keys of all tenants, those that have ended too for 30 days. Each raises UnavailableError."""

    async def create(self, key: ApiKey, text: KeyText, nonce: bytes, request: KeyRequest) -> bytes:
        """Stores a key that was made from `nonce`, and returns that; or, where the same request made a key before, what
        that one was made from, and stores nothing.

        Raises InvalidArgumentError REQUEST_ID_REUSED, ResourceExhaustedError QUOTA_EXCEEDED.
        """
        ...

    async def keys(self, tenant: str, *, after: str, limit: int, now_s: float) -> list[ApiKey]:
        """At most `limit` keys by their id, from after `after` on."""
        ...

    async def revoke(self, tenant: str, key_id: str, now_s: float) -> ApiKey:
        """Ends a key; one that has ended by that stays as it is. Raises NotFoundError KEY_NOT_FOUND."""
        ...
