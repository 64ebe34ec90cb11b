"""Who gets the next slot of a model."""

from collections import Counter

import pytest

from libs.errors.errors import Reason, ResourceExhaustedError
from services.inference.domain.line import AGED_EVERY, PATIENCE_S, Bounds, Line
from services.inference.domain.tests.lines import FOREVER, HIGH, LOW, NORMAL, called, enter, full, learnt


def test_a_free_slot_is_had_at_once() -> None:
    """Nobody waits while there is room, in the order of arrival."""
    line = Line(Bounds(4, 8))
    tickets = [enter(line, HIGH, tenant) for tenant in "abcd"]
    assert called(line) == tickets
    assert (line.running, line.waiting()) == (4, 0)


def test_a_tenant_that_comes_anew_is_not_before_those_who_are_here() -> None:
    """Who had the last turn has the next one too where it came before."""
    line, order = Line(Bounds(1, 8)), []
    first = enter(line, HIGH, "here")
    assert called(line) == [first]
    second, stranger = enter(line, HIGH, "here"), enter(line, HIGH, "a stranger")
    for running in (first, second):
        line.leave(running, 1.0)
        order += called(line, 1.0)
    assert order == [second, stranger]


def test_higher_classes_go_first() -> None:
    """Whatever the order in which they came."""
    line, running = full(1)
    low, normal, high = enter(line, LOW), enter(line, NORMAL), enter(line, HIGH)
    order = []
    for _ in range(3):
        line.leave(running[-1], 1.0)
        running += called(line, 1.0)
        order.append(running[-1])
    assert order == [high, normal, low]


@pytest.mark.parametrize(
    ("slots", "low", "normal_and_low"), [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 3), (8, 4, 6), (9, 4, 6)]
)
def test_slots_are_kept_for_higher_classes(slots: int, low: int, normal_and_low: int) -> None:
    """LOW alone gets half, LOW and NORMAL together three quarters, HIGH the rest."""
    line = Line(Bounds(slots, 100))
    for at in range(slots):
        enter(line, LOW, f"a{at}")
    assert len(called(line)) == low
    for at in range(slots):
        enter(line, NORMAL, f"b{at}")
    assert len(called(line)) == normal_and_low - low
    for at in range(slots):
        enter(line, HIGH, f"c{at}")
    assert len(called(line)) == slots - normal_and_low


def test_tenants_take_turns() -> None:
    """A tenant with a hundred calls waits as long for its second turn as another for its first."""
    line, running = full(1, queue=400)
    for _ in range(100):
        enter(line, tenant="many")
    few = [enter(line, tenant="few") for _ in range(3)]
    one = enter(line, tenant="one")
    order = []
    for _ in range(8):
        line.leave(running[-1], 1.0)
        running += called(line, 1.0)
        order.append(running[-1].tenant)
    assert order == ["many", "few", "one", "many", "few", "many", "few", "many"]
    assert all(ticket.begun_s is None for ticket in (*few, one))


def test_a_tenant_has_its_share_of_slots_while_others_wait() -> None:
    """Three quarters at most, also of a higher class; all, where nobody else can have the next."""
    line = Line(Bounds(4, 100))
    for _ in range(10):
        enter(line, HIGH, "greedy")
    greedy = called(line)
    assert len(greedy) == 4
    other = enter(line, LOW, "other")
    line.leave(greedy[0], 1.0)
    assert called(line, 1.0) == [other]
    line.leave(greedy[1], 1.0)
    assert [ticket.tenant for ticket in called(line, 1.0)] == ["greedy"]


def test_slots_are_shared_not_turns() -> None:
    """A tenant whose calls take long does not end up with all slots: who has fewest goes next."""
    line, running = full(4)
    for tenant in ("long", "short"):
        for _ in range(20):
            enter(line, HIGH, tenant)
    for ticket in running:
        line.leave(ticket, 1.0)
    held = called(line, 1.0)
    for at in range(8):
        for ticket in [one for one in held if one.tenant == "short"]:
            line.leave(ticket, 1.1 + 0.1 * at)
            held.remove(ticket)
        held += called(line, 1.1 + 0.1 * at)
        assert Counter(ticket.tenant for ticket in held) == {"long": 2, "short": 2}


def test_who_leaves_the_queue_leaves_no_hole() -> None:
    """A call that gives up waiting is nobody's turn, and its place is free; leaving twice changes nothing."""
    line, running = full(1, queue=2)
    first, second = enter(line, tenant="a"), enter(line, tenant="b")
    line.leave(first, 1.0)
    line.leave(first, 1.0)
    third = enter(line, tenant="c")
    line.leave(running[0], 1.0)
    line.leave(running[0], 1.0)
    assert called(line, 1.0) == [second]
    line.leave(second, 2.0)
    assert called(line, 2.0) == [third]
    line.leave(third, 3.0)
    assert (line.running, line.waiting()) == (0, 0)


def test_a_full_queue_refuses() -> None:
    """With OVERLOADED, and a time at which it is worth coming back."""
    line = Line(Bounds(1, 2))
    learnt(line, 0.5)
    assert called(line) == [] and enter(line, HIGH, "r") in called(line)
    enter(line, tenant="a")
    enter(line, tenant="b")
    with pytest.raises(ResourceExhaustedError) as caught:
        line.enter("c", NORMAL, 0.0, FOREVER)
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_after_s == pytest.approx(1.5)


def test_a_tenant_has_its_share_of_the_queue() -> None:
    """Half of the places: others find one."""
    line, _ = full(1, queue=8)
    for _ in range(4):
        enter(line, tenant="greedy")
    with pytest.raises(ResourceExhaustedError):
        line.enter("greedy", HIGH, 0.0, FOREVER)
    enter(line, tenant="other")


def test_a_more_urgent_call_takes_a_place_in_a_full_queue() -> None:
    """That of the newest of the lowest class, of the tenant with most of them."""
    line, _ = full(1, queue=4)
    enter(line, LOW, "a")
    newest = [enter(line, LOW, "b") for _ in range(2)][-1]
    enter(line, NORMAL, "c")
    ticket, displaced = line.enter("d", HIGH, 0.0, FOREVER)
    assert displaced is newest
    assert (line.waiting(), line.waiting(HIGH)) == (4, 1)
    line.leave(newest, 0.0)
    assert ticket in line.tickets()
    assert line.waiting() == 4


def test_a_tenant_with_less_takes_a_place_of_one_with_more() -> None:
    """Of the same class, until both have as many; never of a higher class."""
    line, _ = full(1, queue=6)
    for tenant in "aaabb":
        enter(line, tenant=tenant)
    enter(line, HIGH, "c")
    _, displaced = line.enter("d", NORMAL, 0.0, FOREVER)
    assert displaced is not None and displaced.tenant == "a"
    with pytest.raises(ResourceExhaustedError):
        line.enter("d", NORMAL, 0.0, FOREVER)
    with pytest.raises(ResourceExhaustedError):
        line.enter("e", LOW, 0.0, FOREVER)


def test_nothing_is_kept_of_who_is_gone() -> None:
    """Neither of tenants that were served nor of those that were refused."""
    line, running = full(1, queue=2)
    for at in range(2):
        enter(line, tenant=f"w{at}")
    for at in range(50):
        with pytest.raises(ResourceExhaustedError):
            line.enter(f"refused-{at}", NORMAL, 0.0, FOREVER)
    line.leave(running[0], 1.0)
    while found := called(line, 1.0):
        line.leave(found[0], 1.0)
    assert not (line._waiting_of or line._running_of or line._last_turn or any(line._waiting.values()))


def test_the_lowest_class_does_not_starve() -> None:
    """While HIGH never lets a slot go free, a LOW call of a short queue gets its turn within the bound: at the latest
    the fourth turn after its patience has ended."""
    line, running = full(2)
    low, now_s, turns = enter(line, LOW, "patient"), 0.0, 0
    while low.begun_s is None:
        now_s += 0.5
        enter(line, HIGH, f"h{now_s}", now_s)
        line.leave(running.pop(0), now_s)
        begun = called(line, now_s)
        running += begun
        turns += len(begun) if now_s >= PATIENCE_S else 0
    assert turns <= AGED_EVERY
    assert low.begun_s >= PATIENCE_S
