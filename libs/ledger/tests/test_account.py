"""What the ledger's scripts share, compared with the standard library."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis

from libs.ledger.keys import LedgerKeys
from libs.ledger.ledger import PRELUDE

SECONDS_UNTIL_2400 = 13_569_465_600


async def test_days_and_months_are_those_of_the_calendar(redis: Redis) -> None:
    """Any time until the year 2400 is of its day and month in UTC, leap years included; months begin where they do."""
    chance = random.Random(0)
    edges = [datetime(year, month, 1, tzinfo=UTC) for year in (1999, 2000, 2028, 2100) for month in range(1, 13)]
    times = [int(edge.timestamp()) + change for edge in edges for change in (-1, 0, 1)]
    times += [chance.randrange(SECONDS_UNTIL_2400) for _ in range(500)]
    script = """
        local days = {}
        for i, at in ipairs(ARGV) do
          at = tonumber(at)
          days[i] = {day_of(at), month_of(at), month_start(at, 0), month_start(at, 3)}
        end
        return days"""
    found = await evaluate(redis, script, *times)
    for at, (day, month, this, later) in zip(times, found, strict=True):
        moment = datetime.fromtimestamp(at, UTC)
        assert (day.decode(), month.decode()) == (moment.strftime("%Y%m%d"), moment.strftime("%Y%m"))
        first = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        assert this == first.timestamp()
        for _ in range(3):
            first = (first + timedelta(days=32)).replace(day=1)
        assert later == first.timestamp()


async def test_names_are_quoted_as_in_urls(redis: Redis) -> None:
    """A name in a field of the usage sums is what `urllib.parse.quote` makes of it."""
    names = ["kim", "a|b", "/weft.rag.v1/X", "größe", "~._-%{}\n", ""]
    found = await evaluate(redis, "return {unpack(ARGV)}", *names)
    assert [name.encode() for name in names] == found
    quoted = await evaluate(
        redis, "local out = {} for i, name in ipairs(ARGV) do out[i] = quoted(name) end return out", *names
    )
    assert [name.decode() for name in quoted] == [quote(name, safe="") for name in names]


async def test_whole_numbers_stay_whole(redis: Redis) -> None:
    """Numbers up to 2^53 are written to the unit, and zero has no sign."""
    numbers = [0, 1, 10**14 + 1, 2**53 - 1, -(2**53) + 1]
    write = "redis.call('ECHO', whole(tonumber(number)))"
    script = f"local out = {{}} for i, number in ipairs(ARGV) do out[i] = {write} end return out"
    assert [int(number) for number in await evaluate(redis, script, *numbers)] == numbers
    assert (await evaluate(redis, "return redis.call('ECHO', whole(-tonumber(ARGV[1])))", 0)) == b"0"


async def test_the_scripts_use_the_keys_that_are_documented(redis: Redis, tenant: str) -> None:
    """The names that the scripts make are those of `LedgerKeys`."""
    keys = LedgerKeys(tenant)
    script = "return {leases, periods, call_key('id')}"
    expected = [keys.leases, keys.periods, keys.call("id")]
    found = await evaluate(redis, script, prefix=keys.prefix)
    assert [name.decode() for name in found] == expected


async def evaluate(redis: Any, script: str, *arguments: Any, prefix: str = "weft:ledger:{t}") -> Any:
    return await redis.eval(PRELUDE + script, 1, prefix, *arguments)
