"""Turns for executions."""

from __future__ import annotations

import asyncio

import pytest

from libs.errors.errors import Reason, ResourceExhaustedError, ServiceError, UnavailableError
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from services.inference.app.tests.fakes import Clock
from services.inference.app.traffic import Traffic
from services.inference.app.turnstile import Turn, Turnstile
from services.inference.domain.breaker import FIRST_WAIT_S, RUN
from services.inference.domain.callers import Caller, Priority
from services.inference.domain.line import Bounds
from services.inference.domain.models import model_unavailable

LOW, NORMAL, HIGH = (Caller(priority.name, priority) for priority in Priority)
DEAD = model_unavailable("m", "dead")


class Lab:
    """A turnstile whose models have names of their own, because metrics are the process's."""

    made = 0

    def __init__(self, slots: int = 1, queue: int = 8) -> None:
        Lab.made += 1
        self.model = f"m{Lab.made}"
        self.clock = Clock()
        self.turnstile = Turnstile(lambda model: Bounds(slots, queue), Traffic(), self.clock)

    async def enter(self, caller: Caller = HIGH) -> Turn:
        return await self.turnstile.enter(self.model, caller)

    async def waiting(self, caller: Caller) -> asyncio.Task[Turn]:
        """A call that waits for its turn."""
        before = self.count("weft_inference_waiting", priority=caller.priority.name.lower())
        task = asyncio.create_task(self.enter(caller))
        await eventually(
            lambda: self.count("weft_inference_waiting", priority=caller.priority.name.lower()) == before + 1
        )
        return task

    async def fail(self, times: int) -> None:
        for _ in range(times):
            (await self.enter()).end(DEAD)

    def count(self, name: str, **labels: str) -> float:
        return metrics.value(name, model=self.model, **labels)


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def test_turns_come_by_priority(lab: Lab) -> None:
    """Each who ends lets the most urgent one in."""
    running = await lab.enter()
    low, normal, high = [await lab.waiting(caller) for caller in (LOW, NORMAL, HIGH)]
    for task in (high, normal, low):
        running.end()
        running = await task
    running.end()
    assert (lab.count("weft_inference_running"), lab.count("weft_inference_turns_total", priority="low")) == (0, 1)


async def test_a_turn_ends_however_it_is_left(lab: Lab) -> None:
    """By an error as well, once; then the next one has it."""
    for error in (None, ValueError("x"), DEAD, asyncio.CancelledError()):
        turn = await lab.enter()
        with pytest.raises(type(error)) if error else turn, turn:
            if error:
                raise error
        turn.end()
    assert lab.count("weft_inference_running") == 0
    (await lab.enter()).end()


async def test_only_one_of_those_who_waited_tries_a_model_under_suspicion() -> None:
    """Two slots that come free at once are not two probes: the second call is refused."""
    lab = Lab(slots=2)
    running = [await lab.enter(), await lab.enter()]
    lab.turnstile.died(lab.model)
    lab.turnstile.back(lab.model)
    waiting = [await lab.waiting(HIGH), await lab.waiting(HIGH)]
    for turn in running:
        turn.end()
    probe, refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(probe, Turn)
    assert isinstance(refused, UnavailableError)
    assert refused.reason is Reason.MODEL_UNAVAILABLE
    probe.end()
    assert lab.count("weft_inference_running") == 0


async def test_who_leaves_while_waiting_leaves_no_hole(lab: Lab) -> None:
    """A cancelled call is neither waited for nor given the slot."""
    running = await lab.enter()
    leaving, staying = await lab.waiting(HIGH), await lab.waiting(NORMAL)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert lab.count("weft_inference_waiting", priority="high") == 0
    running.end()
    (await staying).end()
    assert lab.count("weft_inference_running") == 0


async def test_who_leaves_as_its_turn_comes_leaves_no_hole(lab: Lab) -> None:
    """A cancel in the very moment of the turn gives the slot to the next one."""
    running = await lab.enter()
    leaving, staying = await lab.waiting(HIGH), await lab.waiting(NORMAL)
    running.end()
    leaving.cancel()
    (await staying).end()
    assert leaving.cancelled()
    assert lab.count("weft_inference_running") == 0


async def test_a_cancel_just_before_its_turn_leaves_no_hole(lab: Lab) -> None:
    """Nor does one that has not been noticed yet."""
    running = await lab.enter()
    leaving, staying = await lab.waiting(HIGH), await lab.waiting(NORMAL)
    leaving.cancel()
    running.end()
    (await staying).end()
    await asyncio.wait([leaving])
    assert (leaving.cancelled(), lab.count("weft_inference_running")) == (True, 0)


async def test_a_displaced_call_is_told_at_once() -> None:
    """OVERLOADED, with a time to come back, as soon as a more urgent one has its place."""
    lab = Lab(queue=2)
    running = await lab.enter()
    low = [await lab.waiting(Caller(tenant, Priority.LOW)) for tenant in "ab"]
    high = await lab.waiting(HIGH)
    await asyncio.wait(low, return_when=asyncio.FIRST_COMPLETED)
    (gone,) = [task for task in low if task.done()]
    error = gone.exception()
    assert isinstance(error, ResourceExhaustedError)
    assert (error.reason, bool(error.retry_after_s)) == (Reason.OVERLOADED, True)
    assert lab.count("weft_inference_refused_total", reason="OVERLOADED") == 1
    running.end()
    for task in (high, *(one for one in low if one is not gone)):
        (await task).end()


async def test_a_turn_that_comes_too_late_is_refused(lab: Lab) -> None:
    """Work that nobody could use is not begun; the one behind goes on at once."""
    first = await lab.enter()
    lab.clock.now_s += 1.0
    first.end()
    running = await lab.enter()
    late, patient = await lab.waiting(Caller("a", Priority.HIGH, 2.5)), await lab.waiting(NORMAL)
    lab.clock.now_s += 2.4
    running.end()
    with pytest.raises(ResourceExhaustedError, match="too late"):
        await late
    (await patient).end()


async def test_a_call_that_could_not_be_answered_in_time_is_refused_at_once(lab: Lab) -> None:
    """And counted."""
    first = await lab.enter()
    lab.clock.now_s += 1.0
    first.end()
    running = await lab.enter()
    with pytest.raises(ResourceExhaustedError) as caught:
        await lab.enter(Caller("a", Priority.HIGH, 1.5))
    assert caught.value.retry_after_s == pytest.approx(1.0)
    assert lab.count("weft_inference_refused_total", reason="OVERLOADED") == 1
    running.end()


async def test_a_failing_model_is_left_alone(lab: Lab) -> None:
    """After RUN failures calls are refused at once with MODEL_UNAVAILABLE and the time until the next attempt."""
    await lab.fail(RUN)
    lab.clock.now_s += 0.25
    with pytest.raises(UnavailableError) as caught:
        await lab.enter()
    assert (caught.value.reason, caught.value.metadata) == (Reason.MODEL_UNAVAILABLE, {"model": lab.model})
    assert caught.value.retry_after_s == pytest.approx(FIRST_WAIT_S - 0.25)
    assert lab.count("weft_inference_breaker_opened_total") == 1
    assert lab.count("weft_inference_breaker_state") == 2


async def test_those_who_wait_are_refused_when_it_opens(lab: Lab) -> None:
    """Nobody waits for a model that fails."""
    await lab.fail(RUN - 1)
    running = await lab.enter()
    waiting = await lab.waiting(NORMAL)
    running.end(DEAD)
    with pytest.raises(UnavailableError):
        await waiting
    assert (lab.count("weft_inference_running"), lab.count("weft_inference_waiting", priority="normal")) == (0, 0)


async def test_one_call_tries_a_failing_model() -> None:
    """The others are refused until it has had something of the model; then all go through."""
    lab = Lab(slots=8)
    await lab.fail(RUN)
    lab.clock.now_s += FIRST_WAIT_S
    probe = await lab.enter()
    with pytest.raises(UnavailableError):
        await lab.enter()
    probe.produced()
    (await lab.enter()).end()
    probe.end()
    assert lab.count("weft_inference_breaker_state") == 0


async def test_a_cancelled_probe_is_followed_by_another() -> None:
    """It has said nothing."""
    lab = Lab(slots=8)
    await lab.fail(RUN)
    lab.clock.now_s += FIRST_WAIT_S
    (await lab.enter()).end(asyncio.CancelledError())
    (await lab.enter()).end()
    assert lab.count("weft_inference_breaker_state") == 0


async def test_a_dead_model_is_left_alone_until_it_is_back(lab: Lab) -> None:
    """Who finds out tells: calls are refused from then on, and tried as soon as it was loaded again."""
    running = await lab.enter()
    waiting = await lab.waiting(HIGH)
    lab.turnstile.died(lab.model)
    with pytest.raises(UnavailableError):
        await waiting
    running.end(DEAD)
    with pytest.raises(UnavailableError):
        await lab.enter()
    lab.turnstile.back(lab.model)
    (await lab.enter()).end()
    assert lab.count("weft_inference_breaker_state") == 0


async def test_models_do_not_wait_for_each_other(lab: Lab) -> None:
    """Slots and breakers are each model's own."""
    running = await lab.enter()
    lab.turnstile.died(lab.model)
    with pytest.raises(UnavailableError):
        await lab.enter()
    other = await lab.turnstile.enter(f"{lab.model}-other", HIGH)
    assert other.ticket.begun_s is not None
    other.end()
    running.end()


async def test_nothing_is_lost_in_a_crowd() -> None:
    """Hundreds that come, end, fail and leave at any moment: in the end no slot is held and nobody waits."""
    lab = Lab(slots=3, queue=40)

    async def call(at: int) -> None:
        turn = await lab.enter(Caller(f"t{at % 7}", Priority(at % 3)))
        with turn:
            for _ in range(at % 5):
                await asyncio.sleep(0)
            assert lab.count("weft_inference_running") <= 3
            if at % 11 == 0:
                raise ValueError("the caller's own")

    tasks = []
    for at in range(600):
        tasks.append(asyncio.create_task(call(at)))
        if at % 4 == 0:
            tasks[at // 2].cancel()
        if at % 3 == 0:
            await asyncio.sleep(0)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, None | ValueError | ServiceError | asyncio.CancelledError) for end in ends)
    assert sum(end is None for end in ends) > 100
    assert lab.count("weft_inference_running") == 0
    assert [lab.count("weft_inference_waiting", priority=name) for name in ("low", "normal", "high")] == [0, 0, 0]
