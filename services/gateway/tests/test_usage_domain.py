"""Days that are asked for, sums that are split, periods that end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from libs.errors.errors import InvalidArgumentError
from services.gateway.domain.usage import (
    BudgetState,
    Days,
    Dimension,
    Period,
    Row,
    Slice,
    Summary,
    Used,
    days_asked,
    period_at,
)

TODAY = date(2026, 3, 17)
MONDAY, TUESDAY = date(2026, 3, 16), date(2026, 3, 17)
ASK, TELL = Slice("kim", "small", "/a.B/Ask"), Slice("lee", "large", "/a.B/Tell")


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("", "", Days(date(2026, 3, 1), TODAY)),
        ("", "2024-02-29", Days(date(2024, 2, 1), date(2024, 2, 29))),
        ("2026-03-17", "", Days(TODAY, TODAY)),
        ("2025-03-17", "", Days(date(2025, 3, 17), TODAY)),
        ("2024-01-01", "2024-12-31", Days(date(2024, 1, 1), date(2024, 12, 31))),
        ("9999-12-31", "9999-12-31", Days(date.max, date.max)),
    ],
)
def test_days_that_are_not_named(first: str, last: str, expected: Days) -> None:
    """The last day is today, the first one that of the last day's month; 366 days are allowed."""
    assert days_asked(first, last, TODAY) == expected


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [
        ("2026-02-30", "", "first_day"),
        ("", "2025-02-29", "last_day"),
        ("", "0000-01-01", "last_day"),
        ("2026-03-18", "", "last_day"),
        ("2026-03-02", "2026-03-01", "last_day"),
        ("2025-03-16", "", "first_day"),
        ("0001-01-01", "9999-12-31", "first_day"),
    ],
)
def test_days_that_are_refused(first: str, last: str, field: str) -> None:
    """The field that is wrong is named."""
    with pytest.raises(InvalidArgumentError) as raised:
        days_asked(first, last, TODAY)
    assert [violation.field for violation in raised.value.violations] == [field]


def test_each_day_is_there_once() -> None:
    """Both ends are counted."""
    assert Days(MONDAY, TUESDAY).each() == [MONDAY, TUESDAY]
    assert Days(date.max, date.max).each() == [date.max]


def test_sums_are_split_by_what_is_asked_for_alone() -> None:
    """Rows are in the order of the dimensions, whatever order these were asked for in."""
    summary = Summary([Dimension.MODEL, Dimension.DAY])
    summary.add(
        MONDAY, {TELL: Used(1, 10, 20, 30), ASK: Used(2, 1, 2, 3), Slice("lee", "small", "/x"): Used(1, 1, 1, 1)}
    )
    summary.add(TUESDAY, {ASK: Used(5, 5, 5, 5)})
    assert summary.rows() == [
        Row("2026-03-16", "", "large", "", Used(1, 10, 20, 30)),
        Row("2026-03-16", "", "small", "", Used(3, 2, 3, 4)),
        Row("2026-03-17", "", "small", "", Used(5, 5, 5, 5)),
    ]


def test_one_sum_where_nothing_is_asked_for() -> None:
    """It is there also where nothing was used; a split of nothing has no rows."""
    assert Summary([]).rows() == [Row("", "", "", "", Used())]
    assert Summary(list(Dimension)).rows() == []


def test_enough_rows_are_known_as_soon_as_their_days_are_over() -> None:
    """Only rows that are split by day cannot change with a later day."""
    for group_by, expected in (([Dimension.DAY, Dimension.KEY], True), ([Dimension.KEY], False)):
        summary = Summary(group_by)
        summary.add(MONDAY, {ASK: Used(1), TELL: Used(1)})
        assert (summary.has_first(2), summary.has_first(3)) == (expected, False)


@pytest.mark.parametrize(
    ("now", "day", "next_day", "month", "next_month"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, 999_000, UTC), "20261231", "2027-01-01", "202612", "2027-01-01"),
        (datetime(2024, 2, 28, tzinfo=UTC), "20240228", "2024-02-29", "202402", "2024-03-01"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "20260131", "2026-02-01", "202601", "2026-02-01"),
    ],
)
def test_periods_end_at_midnight_utc(now: datetime, day: str, next_day: str, month: str, next_month: str) -> None:
    """Days and months are those of the calendar, in leap years too."""

    def unix_s(written: str) -> int:
        return int(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp())

    assert period_at("day", now.timestamp()) == Period(day, unix_s(next_day))
    assert period_at("month", now.timestamp()) == Period(month, unix_s(next_month))
    assert period_at("day", unix_s(next_day)).end_unix_s - unix_s(next_day) == timedelta(days=1).total_seconds()


def test_nothing_is_left_of_a_budget_that_was_lowered() -> None:
    """What is left is never below 0."""
    assert BudgetState("tenant/day/tokens", 100, 60, 30, 0).left == 10
    assert BudgetState("tenant/day/tokens", 50, 60, 30, 0).left == 0
