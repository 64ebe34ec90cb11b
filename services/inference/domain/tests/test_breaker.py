"""When a model is left alone."""

import asyncio

import pytest

from libs.errors.errors import DeadlineExceededError, Reason, ServiceError, invalid_field
from services.inference.domain.breaker import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    MOST_FAILED,
    PROBE_S,
    RUN,
    WINDOW_S,
    Breaker,
    State,
    verdict_of,
)
from services.inference.domain.models import model_unavailable


def told(breaker: Breaker, *verdicts: bool | None, now_s: float = 0.0) -> None:
    """Calls that went through, one after the other."""
    for verdict in verdicts:
        call = object()
        assert breaker.refused_for_s(now_s) is None
        breaker.begin(call)
        breaker.end(call, verdict, now_s)


def opened(now_s: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    told(breaker, *[False] * RUN, now_s=now_s)
    assert breaker.state(now_s) is State.OPEN
    return breaker


def test_a_run_of_failures_opens_it() -> None:
    """One fewer does not, nor does a run with a success in it."""
    breaker = Breaker()
    told(breaker, *[False] * (RUN - 1), True, *[False] * (RUN - 1))
    assert breaker.state(0.0) is State.CLOSED
    told(breaker, False)
    assert (breaker.state(0.0), breaker.refused_for_s(0.0)) == (State.OPEN, FIRST_WAIT_S)


def test_a_share_of_failures_opens_it() -> None:
    """Half of the last ones, though none in a row."""
    breaker = Breaker()
    told(breaker, *[True, False] * (MOST_FAILED - 1), True)
    assert breaker.state(0.0) is State.CLOSED
    told(breaker, False)
    assert breaker.state(0.0) is State.OPEN


def test_old_failures_are_forgotten() -> None:
    """A failure now and then is no reason."""
    breaker = Breaker()
    for at in range(100):
        told(breaker, False, now_s=at * WINDOW_S)
    assert breaker.state(100 * WINDOW_S) is State.CLOSED


def test_what_says_nothing_counts_for_nothing() -> None:
    """Cancels and callers' mistakes neither open it nor break a run."""
    breaker = Breaker()
    told(breaker, *[None] * 100)
    assert breaker.state(0.0) is State.CLOSED
    told(breaker, *[False, None] * (RUN - 1), False)
    assert breaker.state(0.0) is State.OPEN


def test_one_probe_at_a_time() -> None:
    """After the wait one call goes through; until it says something others are refused."""
    breaker = opened()
    assert breaker.refused_for_s(0.4) == pytest.approx(FIRST_WAIT_S - 0.4)
    assert breaker.state(FIRST_WAIT_S) is State.HALF_OPEN
    assert breaker.refused_for_s(FIRST_WAIT_S) is None
    probe = object()
    breaker.begin(probe)
    assert breaker.refused_for_s(FIRST_WAIT_S) == PROBE_S
    breaker.end(probe, True, FIRST_WAIT_S)
    assert (breaker.state(FIRST_WAIT_S), breaker.refused_for_s(FIRST_WAIT_S)) == (State.CLOSED, None)


def test_a_probe_need_not_come_to_its_end() -> None:
    """Its first sign of life closes the breaker."""
    breaker, probe = opened(), object()
    breaker.begin(probe)
    breaker.works(probe)
    assert breaker.state(FIRST_WAIT_S) is State.CLOSED


def test_a_probe_that_leaves_makes_room_for_another() -> None:
    """A cancelled one has said nothing."""
    breaker, probe = opened(), object()
    breaker.begin(probe)
    breaker.end(probe, None, FIRST_WAIT_S)
    assert (breaker.state(FIRST_WAIT_S), breaker.refused_for_s(FIRST_WAIT_S)) == (State.HALF_OPEN, None)


def test_waits_grow_until_it_works() -> None:
    """Each failed probe doubles the wait, up to a bound; a success begins anew."""
    breaker, now_s, waits = opened(), 0.0, []
    for _ in range(8):
        waits.append(breaker.refused_for_s(now_s))
        now_s += waits[-1] or 0.0
        told(breaker, False, now_s=now_s)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]
    now_s += LONGEST_WAIT_S
    told(breaker, True, *[False] * RUN, now_s=now_s)
    assert breaker.refused_for_s(now_s) == FIRST_WAIT_S


def test_those_that_began_before_say_nothing_afterwards() -> None:
    """A call that was let in before it opened neither closes it nor is taken for the probe."""
    breaker, early = Breaker(), object()
    breaker.begin(early)
    told(breaker, *[False] * RUN)
    breaker.works(early)
    breaker.end(early, True, 0.0)
    assert breaker.state(0.0) is State.OPEN


def test_a_known_death_opens_it_and_a_return_lets_one_try() -> None:
    """Nobody has to fail to find out, and nobody has to wait after the return."""
    breaker = Breaker()
    breaker.trip(0.0)
    breaker.trip(0.0)
    assert breaker.refused_for_s(0.0) == 2 * FIRST_WAIT_S
    breaker.retry(0.5)
    assert (breaker.state(0.5), breaker.refused_for_s(0.5)) == (State.HALF_OPEN, None)
    told(breaker, False, now_s=0.5)
    assert breaker.refused_for_s(0.5) == FIRST_WAIT_S


def test_a_return_of_a_model_that_works_changes_nothing() -> None:
    """A closed breaker stays closed."""
    breaker = Breaker()
    breaker.retry(0.0)
    assert breaker.state(0.0) is State.CLOSED


@pytest.mark.parametrize(
    ("error", "produced", "verdict"),
    [
        (None, False, True),
        (model_unavailable("m", "dead"), False, False),
        (model_unavailable("m", "dead"), True, False),
        (ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "away"), False, False),
        (ServiceError(Reason.INTERNAL, "internal error"), False, None),
        (DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late"), False, None),
        (DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late"), True, True),
        (asyncio.CancelledError(), False, None),
        (GeneratorExit(), True, True),
        (invalid_field("prompt", "is bad"), False, None),
    ],
)
def test_what_an_end_says_of_the_model(error: BaseException | None, produced: bool, verdict: bool | None) -> None:
    """Only a model that is not there is a failure; callers' errors, cancels and short deadlines are none."""
    assert verdict_of(error, produced=produced) is verdict
