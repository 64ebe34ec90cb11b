"""Who would get a slot too late, and when to come back."""

import pytest

from libs.errors.errors import ResourceExhaustedError
from services.inference.domain.line import LONGEST_RETRY_S, SHORTEST_RETRY_S, Bounds, Line
from services.inference.domain.tests.lines import HIGH, LOW, called, enter, learnt


def test_too_late_is_refused_at_once() -> None:
    """A call that would be answered after its deadline does not wait for it; RetryInfo is when its turn would be."""
    line = Line(Bounds(2, 100))
    learnt(line, 1.0)
    for at in range(2):
        enter(line, HIGH, f"r{at}")
    assert len(called(line)) == 2
    for at in range(5):
        enter(line, HIGH, f"w{at}", within_s=60.0)
    # Six are before it or are it, two at a time, a second each: its turn in 3 s, its answer in 4 s.
    with pytest.raises(ResourceExhaustedError) as caught:
        line.enter("late", HIGH, 0.0, 3.9)
    assert caught.value.retry_after_s == pytest.approx(3.0)
    enter(line, HIGH, "in time", within_s=4.1)


def test_who_need_not_wait_is_never_too_late() -> None:
    """A short deadline is the caller's own matter while there is room."""
    line = Line(Bounds(2, 100))
    learnt(line, 1.0)
    ticket = enter(line, HIGH, within_s=0.1)
    assert called(line) == [ticket]
    assert not line.comes_too_late(ticket, 0.05)


def test_a_turn_that_comes_too_late_is_known() -> None:
    """After a wait that leaves less than half of the usual time."""
    line = Line(Bounds(1, 100))
    learnt(line, 1.0)
    running = enter(line, HIGH)
    assert called(line) == [running]
    ticket = enter(line, HIGH, "b", within_s=2.5)
    line.leave(running, 1.9)
    assert called(line, 1.9) == [ticket]
    assert (line.comes_too_late(ticket, 1.9), line.comes_too_late(ticket, 2.1)) == (False, True)


def test_guesses_that_were_too_low_are_corrected() -> None:
    """LOW waits longer than its place says while higher classes go on coming: soon it is told so when it comes."""
    line = Line(Bounds(1, 100))
    learnt(line, 1.0)
    now_s, running = 0.0, enter(line, HIGH)
    called(line)
    for _ in range(60):
        low = enter(line, LOW, "low", now_s)
        for _ in range(3):
            high = enter(line, HIGH, "high", now_s)
            now_s += 1.0
            line.leave(running, now_s)
            assert called(line, now_s) == [high]
            running = high
        now_s += 1.0
        line.leave(running, now_s)
        assert called(line, now_s) == [low]
        running = low
    with pytest.raises(ResourceExhaustedError):
        line.enter("low", LOW, now_s, 3.0)
    enter(line, LOW, "low", now_s, 6.0)


def test_retry_is_bounded() -> None:
    """From a tenth of a second to half a minute, however long the queue is."""
    line = Line(Bounds(1, 10_000))
    assert line.retry_s(LOW) == SHORTEST_RETRY_S
    learnt(line, 100.0)
    assert line.retry_s(LOW) == LONGEST_RETRY_S
