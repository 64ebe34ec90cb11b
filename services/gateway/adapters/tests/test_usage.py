"""Usage as the ledger's records say, over a real Redis and the ledger that services write in."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from libs.ledger.keys import TENANTS, LedgerKeys
from libs.ledger.ledger import RedisLedger
from libs.ledger.sweeper import LedgerSweeper
from libs.parts.processes import RunningPart
from libs.store.redis import connect
from libs.store.together import Together
from libs.testing.parts import REDIS_PASSWORD
from services.gateway.adapters.tests.books import Books
from services.gateway.adapters.usage import RedisUsageLedger
from services.gateway.app.usage_query import QueryTenants, QueryUsage
from services.gateway.domain.usage import Days, Dimension, Row, Slice, Used
from services.gateway.ports import BudgetName, BudgetUse, Rebuilt

DAY = timedelta(days=1)
SEARCH, ASK = "/weft.rag.v1.SearchService/Search", "/weft.rag.v1.AnswerService/Answer"
PLAIN = Slice("kim", "small", ASK)
ODD = [
    Slice("key:a|b", "models/small:1|x", SEARCH),
    Slice("key:a", "b|models/small", "|"),
    Slice("%7C%2F", "100%", "a b\n"),
    Slice("Zoë 漢字 \U0001f600", "münchen-7b", "/ü.Ä/Ö"),
    Slice("~-._+*'()", '"{}[]:', "/x"),
    Slice("anonymous", "small", ""),
]


@pytest.fixture
async def redis(redis_server: RunningPart) -> AsyncIterator[Redis]:
    """A client of the real server, on a database of its own."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{redis_server.address}/9", timeout_s=10.0) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def ledger(redis: Redis) -> AsyncIterator[RedisLedger]:
    """What services record with."""
    ledger = RedisLedger(redis)
    yield ledger
    await ledger.aclose(10.0)


@pytest.fixture
def books(redis: Redis, ledger: RedisLedger) -> Books:
    """Of a tenant that no other test has."""
    return Books(redis, ledger, f"tenant.{uuid.uuid4()}")


async def days_until_today(books: Books, count: int) -> Days:
    today = await books.today()
    return Days(today - DAY * (count - 1), today)


async def test_every_record_is_summed_up_under_its_own_names(books: Books) -> None:
    """Whatever characters keys, models and methods have, no two of them fall together."""
    days = await days_until_today(books, 1)
    for number, part in enumerate(ODD, start=1):
        await books.use(days.last, part, number, 10 * number)
        await books.use(days.last, part, number, 0)

    assert await books.told(days) == books.expected


@pytest.mark.parametrize("group_by", [split for size in range(5) for split in itertools.combinations(Dimension, size)])
async def test_usage_is_split_by_every_set_of_dimensions(books: Books, group_by: tuple[Dimension, ...]) -> None:
    """Rows are ordered, and their sum is always the same."""
    days = await days_until_today(books, 3)
    for number, names in enumerate(itertools.product(("kim", "lee"), ("small", "large"), (SEARCH, ASK))):
        await books.use(days.first + DAY * (number % 3), Slice(*names), number, 2 * number)
    every = {(day, part): used for day, sums in books.expected.items() for part, used in sums.items()}
    expected: dict[tuple[str, str, str, str], Used] = {}
    for (day, of), used in every.items():
        place = (
            day.isoformat() if Dimension.DAY in group_by else "",
            of.key if Dimension.KEY in group_by else "",
            of.model if Dimension.MODEL in group_by else "",
            of.method if Dimension.METHOD in group_by else "",
        )
        expected[place] = expected.get(place, Used()) + used

    query = QueryUsage(RedisUsageLedger(books.redis))
    answer = await query(books.tenant, days.first.isoformat(), "", group_by)

    assert answer.rows == [Row(*place, used) for place, used in sorted(expected.items())]
    assert not answer.truncated
    assert sum((row.used for row in answer.rows), Used()) == sum(every.values(), Used())


async def test_a_record_belongs_to_the_day_of_its_reservation(books: Books) -> None:
    """However late it comes."""
    days = await days_until_today(books, 2)
    call = await books.admit(days.first, "kim", ASK)
    await books.tell(call, days.first, PLAIN, 5, 7)

    told = await books.told(days)
    assert told == {days.first: {PLAIN: Used(1, 5, 7, 19)}}


async def test_tenants_see_their_own_usage_alone(redis: Redis, ledger: RedisLedger) -> None:
    """Also where one's name begins with the other's."""
    name = f"t-{uuid.uuid4()}"
    one, other = Books(redis, ledger, name), Books(redis, ledger, f"{name}.2")
    days = await days_until_today(one, 1)
    await one.use(days.last, PLAIN, 1, 1)
    await other.use(days.last, PLAIN, 50, 50)

    assert (await one.told(days), await other.told(days)) == (one.expected, other.expected)
    assert await Books(redis, ledger, name[:-1]).told(days) == {}


async def test_more_rows_than_fit_are_cut_and_told(books: Books) -> None:
    """The first 10,000 rows in their order are there."""
    days = await days_until_today(books, 2)
    for day in days.each():
        fields = {f"k{number:05}|m|x|executions": 1 for number in range(6000)}
        await books.redis.hset(books.keys.usage(0, f"{day:%Y%m%d}"), mapping=fields)
    query = QueryUsage(RedisUsageLedger(books.redis))

    answer = await query(books.tenant, days.first.isoformat(), "", [Dimension.DAY, Dimension.KEY])

    assert (len(answer.rows), answer.truncated) == (10_000, True)
    assert (answer.rows[0].key, answer.rows[-1].key) == ("k00000", "k03999")
    assert answer.rows[-1].day == days.last.isoformat()
    by_key = await query(books.tenant, days.first.isoformat(), "", [Dimension.KEY])
    assert (len(by_key.rows), by_key.truncated) == (6000, False)


async def test_pages_of_tenants_are_of_each_once(redis: Redis, ledger: RedisLedger) -> None:
    """In order, with what each used; tenants that come later do not shift them."""
    names = sorted(f"t{number}-{uuid.uuid4()}" for number in range(7))
    await redis.sadd(TENANTS, *names)
    usage = RedisUsageLedger(redis)
    books = Books(redis, ledger, names[3])
    days = await days_until_today(books, 1)
    await books.use(days.last, PLAIN, 1, 1)
    await books.use(days.last, ODD[0], 1, 1)

    query, after = QueryTenants(usage), ""
    seen: list[tuple[str, Used]] = []
    sizes: list[tuple[int, bool]] = []
    while True:
        page = await query(days, after=after, limit=3)
        seen += page.tenants
        sizes.append((len(page.tenants), page.more))
        await redis.sadd(TENANTS, "0-before-all")
        if not page.more:
            break
        after = page.tenants[-1][0]

    expected = [Used()] * 3 + [Used(2, 2, 2, 33)] + [Used()] * 3
    assert seen == list(zip(names, expected, strict=True))
    assert sizes == [(3, True), (3, True), (1, False)]


async def test_budgets_are_read_as_they_are_charged(books: Books) -> None:
    """Of the tenant and of one key, of a day and its month; one that nothing was charged to has lost nothing."""
    today = await books.today()
    call = await books.admit(today, "kim|x", ASK, reserved=100)
    await books.tell(call, today, Slice("kim|x", "small", ASK), 10, 20)
    names = [
        BudgetName("tenant", f"{today:%Y%m%d}", "tokens"),
        BudgetName("key/kim|x", f"{today:%Y%m}", "money"),
        BudgetName("key/lee", f"{today:%Y%m%d}", "tokens"),
    ]

    told = await RedisUsageLedger(books.redis).budgets(books.tenant, names)

    assert told == [BudgetUse(30, 70), BudgetUse(50, 1950), BudgetUse(0, 0)]


async def test_a_rebuild_makes_the_same_sums(books: Books) -> None:
    """And leaves nothing of the old ones, nor of itself."""
    days = await days_until_today(books, 3)
    for number, part in enumerate([*ODD, *ODD]):
        await books.use(days.first + DAY * (number % 3), part, number, number)

    rebuilt = await RedisUsageLedger(books.redis, records_a_step=5).rebuild(books.tenant)

    assert rebuilt == Rebuilt(12, days.first)
    assert await books.told(days) == books.expected
    assert await books.sums() == {f"usage:1:{day:%Y%m%d}" for day in days.each()}
    periods = await books.redis.zrange(books.keys.periods, 0, -1)
    assert {name.decode() for name in periods if name.startswith(b"usage:")} == await books.sums()


async def test_a_rebuild_puts_wrong_sums_right(books: Books) -> None:
    """Sums that no record stands for go, and those that were lost come again."""
    days = await days_until_today(books, 3)
    for day in days.each():
        await books.use(day, PLAIN, 1, 1)
    await books.redis.hset(books.keys.usage(0, f"{days.last:%Y%m%d}"), "x|y|z|input_tokens", 1000)
    await books.redis.delete(books.keys.usage(0, f"{days.last - DAY:%Y%m%d}"))

    await RedisUsageLedger(books.redis).rebuild(books.tenant)

    assert await books.told(days) == books.expected


async def test_days_older_than_their_records_stay_as_they_are(books: Books) -> None:
    """Where records are gone, the day that may lack some keeps its sums, and so do all before it."""
    days = await days_until_today(books, 40)
    for number in range(40):
        await books.use(days.first + DAY * number, PLAIN, number, 1)
    await books.redis.xtrim(books.keys.records, maxlen=2, approximate=False)

    rebuilt = await RedisUsageLedger(books.redis).rebuild(books.tenant)

    assert rebuilt == Rebuilt(2, None)
    assert await books.told(days) == books.expected
    await books.use(days.last, PLAIN, 9, 9)
    assert await books.told(days) == books.expected
    await books.redis.delete(books.keys.records)
    assert await RedisUsageLedger(books.redis).rebuild(books.tenant) == Rebuilt(0, None)
    assert await books.told(days) == books.expected


async def test_what_a_leases_end_charged_is_rebuilt_with_what_takes_it_back(books: Books) -> None:
    """It counts as no execution. When the late record is in, nothing of it is left."""
    days = await days_until_today(books, 1)
    usage = RedisUsageLedger(books.redis)
    call = await books.admit(days.last, "kim", ASK, reserved=100, lease_ms=1)
    books.ledger.begin(call, "/1")
    await books.use(days.last, ODD[0], 1, 1)  # Written after that, in order.
    await LedgerSweeper(Together(books.redis)).sweep(books.tenant)
    lapsed = {**books.expected[days.last], Slice("kim", "", ASK): Used(0, 100, 0, 2000)}
    for _ in range(2):
        assert await books.told(days) == {days.last: lapsed}
        await usage.rebuild(books.tenant)

    await books.tell(call, days.last, PLAIN, 30, 40)
    for _ in range(2):
        told = dict((await books.told(days))[days.last])
        assert told.pop(Slice("kim", "", ASK)) == Used()
        assert told == books.expected[days.last]
        await usage.rebuild(books.tenant)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_rebuilds_beside_calls_lose_and_double_nothing(books: Books, seed: int) -> None:
    """Several at a time, while records come in and usage is read: the sums are never less than before, and right."""
    chance = random.Random(seed)
    days = await days_until_today(books, 3)
    usage = RedisUsageLedger(books.redis, records_a_step=7)
    written = asyncio.Event()
    await books.use(days.first, PLAIN, 1, 1)

    async def write(number: int) -> None:
        for _ in range(60):
            part = chance.choice(ODD)
            await books.use(days.first + DAY * chance.randrange(3), part, chance.randrange(100), number)

    async def rebuild() -> int:
        count = 0
        while not written.is_set():
            await usage.rebuild(books.tenant)
            count += 1
        return count

    async def read() -> int:
        query, before, count = QueryUsage(usage), 0, 0
        while not written.is_set():
            answer = await query(books.tenant, days.first.isoformat(), "", ())
            assert answer.rows[0].used.executions >= before
            before, count = answer.rows[0].used.executions, count + 1
        return count

    async def write_all() -> None:
        await asyncio.gather(*(write(number) for number in range(4)))
        written.set()

    *counts, _ = await asyncio.gather(rebuild(), rebuild(), read(), write_all())

    assert min(counts) > 0
    assert await books.told(days) == books.expected
    assert await usage.rebuild(books.tenant) == Rebuilt(241, days.first)
    assert await books.told(days) == books.expected
    assert len(await books.sums()) == 3


async def test_records_that_go_while_they_are_read_change_no_sum(books: Books) -> None:
    """A rebuild that missed some begins anew."""
    days = await days_until_today(books, 5)
    for number in range(150):
        await books.use(days.first + DAY * (number % 5), PLAIN, number, 1)
    rebuild = asyncio.create_task(RedisUsageLedger(books.redis, records_a_step=1).rebuild(books.tenant))
    while not any(name.startswith("rebuild:") for name in await books.sums()):
        assert not rebuild.done()
    await books.redis.xtrim(books.keys.records, maxlen=1, approximate=False)
    await rebuild

    assert await books.told(days) == books.expected


async def test_a_rebuild_that_is_broken_off_leaves_nothing_for_long(books: Books) -> None:
    """What it made has an expiry, and the next one does not mind it."""
    days = await days_until_today(books, 1)
    for _ in range(50):
        await books.use(days.last, PLAIN, 1, 1)
    broken = asyncio.create_task(RedisUsageLedger(books.redis, records_a_step=1).rebuild(books.tenant))
    while not any(name.startswith("usage:1:") for name in await books.sums()):
        assert not broken.done()
    broken.cancel()
    await asyncio.wait([broken])

    left = {name for name in await books.sums() if not name.startswith("usage:0:")}
    assert len(left) == 2
    for name in left:
        assert 0 < await books.redis.ttl(f"{LedgerKeys(books.tenant).prefix}:{name}") <= 3600
    assert await RedisUsageLedger(books.redis).rebuild(books.tenant) == Rebuilt(50, days.last)
    assert await books.told(days) == books.expected
