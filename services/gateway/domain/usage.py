"""Usage: what was used on which days, split as it is asked for; budgets, and when their periods end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

from libs.errors.errors import invalid_field

MAX_DAYS = 366
_ONE_DAY = timedelta(days=1)


class Dimension(IntEnum):
    """What usage can be split by, in the order of rows."""

    DAY = 0
    KEY = 1
    MODEL = 2
    METHOD = 3


@dataclass(frozen=True, slots=True)
class Slice:
    """Whose usage of a day, of what, through which method: as fine as sums are kept."""

    key: str
    model: str
    method: str


@dataclass(frozen=True, slots=True)
class Used:
    """How much was used, and what it cost."""

    executions: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.executions + other.executions,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nanos + other.cost_nanos,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A sum. Dimensions that were not asked for are empty; the day is YYYY-MM-DD."""

    day: str
    key: str
    model: str
    method: str
    used: Used


@dataclass(frozen=True, slots=True)
class Days:
    """All days from the first to the last."""

    first: date
    last: date

    def each(self) -> list[date]:
        return [self.first + _ONE_DAY * number for number in range((self.last - self.first).days + 1)]


def days_asked(first: str, last: str, today: date) -> Days:
    """The days of a request (YYYY-MM-DD). Without a last one until today; without a first one from the first of the
    last day's month. Raises InvalidArgumentError FIELD_INVALID: a day that is in no calendar, the last before the
    first, more than 366."""
    last_day = _day(last, "last_day") if last else today
    first_day = _day(first, "first_day") if first else last_day.replace(day=1)
    if last_day < first_day:
        raise invalid_field("last_day", f"must not be before first_day, {first_day}")
    if (last_day - first_day).days >= MAX_DAYS:
        raise invalid_field("first_day", f"must be at most {MAX_DAYS} days before last_day, both counted")
    return Days(first_day, last_day)


class Summary:
    """Adds up days, split by what is asked for. Days are added in their order."""

    def __init__(self, group_by: Iterable[Dimension]) -> None:
        wanted = frozenset(group_by)
        self._by_day = Dimension.DAY in wanted
        self._key, self._model, self._method = (
            dimension in wanted for dimension in (Dimension.KEY, Dimension.MODEL, Dimension.METHOD)
        )
        self._sums: dict[tuple[str, str, str, str], Used] = {}
        if not wanted:
            self._sums["", "", "", ""] = Used()

    def add(self, day: date, used: Mapping[Slice, Used]) -> None:
        """What was used on a day."""
        of_day = day.isoformat() if self._by_day else ""
        for part, amount in used.items():
            place = (
                of_day,
                part.key if self._key else "",
                part.model if self._model else "",
                part.method if self._method else "",
            )
            before = self._sums.get(place)
            self._sums[place] = amount if before is None else before + amount

    def has_first(self, rows: int) -> bool:
        """Whether so many rows are there, and no later day changes any of them or comes before."""
        return self._by_day and len(self._sums) >= rows

    def rows(self) -> list[Row]:
        """By day, key, model, method. Without any dimension one row, also where nothing was used."""
        return [Row(*place, used) for place, used in sorted(self._sums.items())]


@dataclass(frozen=True, slots=True)
class Period:
    """A day (`name` YYYYMMDD) or a month (YYYYMM), in UTC. `end_unix_s` is when the next one begins."""

    name: str
    end_unix_s: int


def period_at(kind: str, now_s: float) -> Period:
    """The "day" or the "month" of a moment (Unix time)."""
    now = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return Period(f"{now:%Y%m%d}", int((now + _ONE_DAY).timestamp()))
    if kind == "month":
        first = now.replace(day=1)
        return Period(f"{now:%Y%m}", int((first + 31 * _ONE_DAY).replace(day=1).timestamp()))
    raise ValueError(f"a budget's period is day or month, not {kind!r}")


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and what became of it. `name` is as in the plans; all amounts are in its unit."""

    name: str
    limit: int
    used: int
    reserved: int
    reset_unix_s: int

    @property
    def left(self) -> int:
        """What calls may still use."""
        return max(0, self.limit - self.used - self.reserved)


def _day(written: str, field: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise invalid_field(field, f"{written} is in no calendar; write YYYY-MM-DD") from None
