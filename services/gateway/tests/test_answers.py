"""Which answers are given again, to whom, and how often one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from libs.contracts import headers
from libs.errors.errors import Reason, UnavailableError
from libs.testing.eventually import eventually
from services.gateway.app.answers import Answers, Fresh, Lookup, ServiceLost, answer_name, read_stamps
from services.gateway.app.ledger import Ledger
from services.gateway.domain.metadata import CacheControl
from services.gateway.ports import Demand, KeptAnswer, Outcome, Rate, Verdict
from services.gateway.tests.fakes import METHOD, AnswersInMemory, ToldAdmissions, plans
from services.gateway.tests.fakes import plan as any_plan

TTL_S = 300.0
ANY = CacheControl()
DOWN = UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "shop cannot be reached", metadata={"dependency": "shop"})


class Shop:
    """A service behind `Answers`, and the time. `made` counts its answers; `broken` is what it fails with."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.kept = AnswersInMemory(lambda: self.now_s)
        self.kept.stamps = {"collection/a": "1", "model/m": "1"}
        self.answers = Answers(Ledger(self.kept, self.monotonic_s), self.kept, TTL_S, self.monotonic_s)
        self.depends = "collection/a=1 model/m=1"
        self.made = 0
        self.broken: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self._calls = 0

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def work(self) -> Fresh:
        self.made += 1
        number = self.made
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        return Fresh(b"answer %d" % number, self.depends)

    async def look(self, control: CacheControl = ANY, within_s: float = 20.0) -> tuple[Lookup, list[tuple[str, str]]]:
        self._calls += 1
        told: list[tuple[str, str]] = []
        demand = Demand(
            tenant="acme",
            key="kim",
            call_id=f"call-{self._calls}",
            method=METHOD.path,
            limit_group="read",
            limits=(),
            budgets=(),
            worst=None,
            prices=plans(any_plan()).prices,
            lease_s=20.0,
        )
        _, lookup, _ = await self.answers.look(demand, b"request", control, within_s, told)
        return lookup, told

    async def call(
        self, control: CacheControl = ANY, *, work: Callable[[], Awaitable[Fresh]] | None = None, within_s: float = 20.0
    ) -> tuple[bytes, dict[str, str]]:
        """The answer, and what it says of itself."""
        lookup, told = await self.look(control, within_s)
        body = await self.answers.answer(lookup, work or self.work)
        assert len(told) == len(dict(told))
        return body, dict(told)


async def test_the_same_request_is_answered_once() -> None:
    """The first is a miss, the next a hit that tells its age; the service works once."""
    shop = Shop()
    assert await shop.call() == (b"answer 1", {headers.CACHE: "miss"})
    shop.now_s += 17.9
    assert await shop.call() == (b"answer 1", {headers.CACHE: "hit", headers.AGE: "17"})
    assert shop.made == 1


async def test_an_answer_has_its_time() -> None:
    """After its time it is made anew."""
    shop = Shop()
    await shop.call()
    shop.now_s += TTL_S
    assert await shop.call() == (b"answer 2", {headers.CACHE: "miss"})


@pytest.mark.parametrize("changed", ["collection/a", "model/m"])
async def test_what_an_answer_depends_on_changes(changed: str) -> None:
    """A write, or another version of a model, makes older answers unreachable at once."""
    shop = Shop()
    await shop.call()
    shop.kept.stamps[changed] = "2"
    shop.depends = shop.depends.replace(f"{changed}=1", f"{changed}=2")
    assert await shop.call() == (b"answer 2", {headers.CACHE: "miss"})
    assert (await shop.call())[0] == b"answer 2"


@pytest.mark.parametrize("depends", ["", "collection", "=1", " ".join(f"collection/{n}=1" for n in range(65))])
async def test_an_answer_that_names_nothing_is_not_kept(depends: str) -> None:
    """Without stamps that can be compared nobody could tell when it goes out of date."""
    shop = Shop()
    shop.depends = depends
    await shop.call()
    assert (await shop.call())[1] == {headers.CACHE: "miss"}
    assert shop.made == 2


async def test_no_cache() -> None:
    """The caller gets a new answer, and later ones get that."""
    shop = Shop()
    await shop.call()
    assert await shop.call(CacheControl(takes_kept=False)) == (b"answer 2", {headers.CACHE: "bypass"})
    assert (await shop.call())[0] == b"answer 2"


async def test_no_store() -> None:
    """The caller gets a new answer, which nobody else gets."""
    shop = Shop()
    await shop.call()
    bypass = CacheControl(takes_kept=False, may_keep=False)
    assert await shop.call(bypass) == (b"answer 2", {headers.CACHE: "bypass"})
    assert (await shop.call())[0] == b"answer 1"


async def test_max_age() -> None:
    """An answer that is older than the caller takes is made anew."""
    shop = Shop()
    await shop.call()
    shop.now_s += 60
    assert (await shop.call(CacheControl(max_age_s=60)))[1] == {headers.CACHE: "hit", headers.AGE: "60"}
    assert (await shop.call(CacheControl(max_age_s=59)))[0] == b"answer 2"


async def test_many_equal_calls_make_one_answer() -> None:
    """All but the first wait for it, and are hits."""
    shop = Shop()
    shop.open.clear()
    calls = [asyncio.create_task(shop.call()) for _ in range(20)]
    await eventually(lambda: shop.kept.waiting == 19)
    shop.open.set()
    answers = await asyncio.gather(*calls)
    assert {body for body, _ in answers} == {b"answer 1"}
    assert sorted(told[headers.CACHE] for _, told in answers) == ["hit"] * 19 + ["miss"]
    assert shop.made == 1


async def test_a_call_is_counted_once_however_long_it_waits() -> None:
    """A call that waited asks the ledger again, but is not counted again; the limit is told as at the first time."""
    admissions = ToldAdmissions(
        Verdict(Outcome.WAIT, rate=Rate(10, 4, 1)), Verdict(Outcome.ANSWERED, answer=KeptAnswer(b"kept", 0, {}))
    )
    shop = Shop()
    shop.answers = Answers(Ledger(admissions, shop.monotonic_s), shop.kept, TTL_S, shop.monotonic_s)
    lookup, _ = await shop.look()
    assert lookup.answer == KeptAnswer(b"kept", 0, {})
    assert [demand.counts for demand in admissions.demands] == [True, False]
    assert len({demand.call_id for demand in admissions.demands}) == 1


async def test_those_who_waited_for_a_failure_try_one_at_a_time() -> None:
    """When the first fails the next makes the answer, and the others wait for that one."""
    shop = Shop()
    shop.open.clear()
    first = asyncio.create_task(shop.call(work=_failing(shop)))
    await eventually(lambda: shop.made == 1)
    others = [asyncio.create_task(shop.call()) for _ in range(5)]
    await eventually(lambda: shop.kept.waiting == 5)
    shop.open.set()
    with pytest.raises(ValueError, match="broken"):
        await first
    assert {body for body, _ in await asyncio.gather(*others)} == {b"answer 2"}
    assert shop.made == 2


async def test_a_caller_that_leaves_lets_the_next_one_try() -> None:
    """A cancel of the call that makes the answer wakes those who wait."""
    shop = Shop()
    shop.open.clear()
    first = asyncio.create_task(shop.call())
    await eventually(lambda: shop.made == 1)
    second = asyncio.create_task(shop.call())
    await eventually(lambda: shop.kept.waiting == 1)
    first.cancel()
    shop.open.set()
    assert (await second)[0] == b"answer 2"


async def test_answers_that_cannot_be_kept_are_not_made_one_after_the_other() -> None:
    """After three calls in turn whose answers nobody may have, all that still wait work at the same time."""
    shop = Shop()
    shop.depends = ""
    turns = [asyncio.Event() for _ in range(10)]

    async def work() -> Fresh:
        shop.made += 1
        await turns[shop.made - 1].wait()
        return Fresh(b"own", "")

    calls = [asyncio.create_task(shop.call(work=work, within_s=600.0)) for _ in range(10)]
    for number in (1, 2, 3):
        await eventually(partial(_is_turn, shop, number))
        turns[number - 1].set()
    await eventually(lambda: shop.made == 10)
    for turn in turns:
        turn.set()
    assert all(told == {headers.CACHE: "miss"} for _, told in await asyncio.gather(*calls))


async def test_nobody_waits_for_more_than_half_of_its_time() -> None:
    """A call whose answer another one is making for too long makes its own."""
    shop = Shop()
    shop.open.clear()
    first = asyncio.create_task(shop.call())
    await eventually(lambda: shop.made == 1)
    second = asyncio.create_task(shop.call(within_s=0.1))
    await eventually(lambda: shop.made == 2)
    shop.open.set()
    assert {(await first)[0], (await second)[0]} == {b"answer 1", b"answer 2"}
    assert 0 < shop.kept.waits_s[0] <= 0.05


@pytest.mark.parametrize("seconds", [10.0, TTL_S + 1])
async def test_an_answer_past_its_time_where_the_service_is_lost(seconds: float) -> None:
    """It is given, marked, with its age, as long as nothing that it depends on has changed."""
    shop = Shop()
    await shop.call()
    shop.broken = ServiceLost(DOWN)
    shop.now_s += TTL_S + seconds
    assert await shop.call() == (b"answer 1", {headers.CACHE: "stale", headers.AGE: str(int(TTL_S + seconds))})


@pytest.mark.parametrize(
    "control",
    [CacheControl(takes_kept=False), CacheControl(takes_kept=False, may_keep=False), CacheControl(max_age_s=300)],
)
async def test_who_takes_no_old_answer_is_told_that_the_service_is_lost(control: CacheControl) -> None:
    """no-cache, no-store and a max-age hold while the service is down as well."""
    shop = Shop()
    await shop.call()
    shop.broken = ServiceLost(DOWN)
    shop.now_s += TTL_S + 1
    with pytest.raises(UnavailableError, match="shop cannot be reached"):
        await shop.call(control)


@pytest.mark.parametrize("changed", ["collection/a", "model/m"])
async def test_no_answer_past_what_it_depends_on(changed: str) -> None:
    """Were the service down for ever: an answer from before a write is not given."""
    shop = Shop()
    await shop.call()
    shop.broken = ServiceLost(DOWN)
    shop.kept.stamps[changed] = "2"
    with pytest.raises(UnavailableError):
        await shop.call()


async def test_without_the_ledger_every_call_is_a_miss() -> None:
    """It goes on, nothing is kept, and nobody waits; an old answer cannot be had either."""
    shop = Shop()
    await shop.call()
    shop.kept.down = True
    assert await shop.call() == (b"answer 2", {headers.CACHE: "miss"})
    shop.broken = ServiceLost(DOWN)
    with pytest.raises(UnavailableError, match="shop cannot be reached"):
        await shop.call()
    shop.kept.down = False
    assert (await shop.call())[0] == b"answer 1"


def test_a_name_tells_methods_and_requests_apart() -> None:
    """Neither of the two alone makes it, and no request looks like the end of a method."""
    asked = [("/a", b"bc"), ("/b", b"bc"), ("/ab", b"c"), ("/a", b"b"), ("/a", b"\x00bc")]
    assert len({answer_name(method, request) for method, request in asked}) == len(asked)
    assert answer_name("/a", b"b") == answer_name("/a", b"b")


def test_reads_stamps() -> None:
    """A name may have any character but a space; an empty stamp is of what is not there."""
    assert read_stamps("collection/a=b=17 model/m=") == {"collection/a=b": "17", "model/m": ""}


def _is_turn(shop: Shop, number: int) -> bool:
    return shop.made == number and shop.kept.waiting == 10 - number


def _failing(shop: Shop) -> Callable[[], Awaitable[Fresh]]:
    async def work() -> Fresh:
        shop.made += 1
        await shop.open.wait()
        raise ValueError("broken")

    return work
