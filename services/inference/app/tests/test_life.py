"""Models that die: found out, cut off, brought back."""

import contextvars

import pytest

from libs.errors.errors import DeadlineExceededError, Reason, UnavailableError
from libs.testing.eventually import eventually
from services.inference.app import canary as canary_module
from services.inference.app.canary import ASK_ANEW_AFTER_S, ASK_EVERY_S, Canary
from services.inference.app.revive_models import ReviveModels
from services.inference.app.tests.fakes import Catalogue, Clock, Control, Probe, Watch
from services.inference.app.underway import Stream, Underway
from services.inference.domain.models import Model, ModelKind, model_unavailable

MODEL = Model("m", kind=ModelKind.GENERATE)
DEAD = model_unavailable("m", "dead")


class Cut:
    """A stream, and how often it was cancelled."""

    def __init__(self) -> None:
        self.count = 0
        self.stream = Stream(self.cancel)

    def cancel(self) -> None:
        self.count += 1


def reviving(
    probe: Probe, control: Control, underway: Underway, clock: Clock, watch: Watch | None = None
) -> ReviveModels:
    return ReviveModels(Catalogue([MODEL]), probe, control, underway, watch or Watch(), clock)


async def settled(revive: ReviveModels) -> None:
    """Waits until nothing is being seen to."""
    await eventually(lambda: not revive.reviving)


async def test_a_dead_model_is_loaded_once() -> None:
    """However many find out, one reload runs, and another comes only after the wait."""
    control, clock = Control(), Clock()
    revive = reviving(Probe(DEAD), control, Underway(), clock)
    for _ in range(5):
        revive.suspect("m")
    await eventually(lambda: control.reloaded)
    revive.suspect("m")
    control.may_end.set()
    await settled(revive)
    revive.suspect("m")
    assert control.reloaded == ["m"]
    clock.now_s += 5
    revive.suspect("m")
    await eventually(lambda: not revive.reviving)
    assert control.reloaded == ["m", "m"]


async def test_its_streams_end_and_no_others() -> None:
    """What waits for the dead model is cut with MODEL_UNAVAILABLE; the streams of others, and those over, are not."""
    underway, control = Underway(), Control()
    waiting, other, over = Cut(), Cut(), Cut()
    underway.enter("m", waiting.stream)
    underway.enter("n", other.stream)
    underway.enter("m", over.stream)
    underway.leave("m", over.stream)
    control.may_end.set()
    revive = reviving(Probe(DEAD), control, underway, Clock())
    revive.suspect("m")
    await eventually(lambda: not revive.reviving)
    assert (waiting.count, other.count, over.count) == (1, 0, 0)
    assert waiting.stream.error is not None
    assert waiting.stream.error.reason is Reason.MODEL_UNAVAILABLE


async def test_death_and_return_are_told() -> None:
    """Who watches hears of a death before the reload, and of the return after it; of a living model nothing."""
    watch, control = Watch(), Control()
    revive = reviving(Probe(DEAD), control, Underway(), Clock(), watch)
    revive.suspect("m")
    await eventually(lambda: control.reloaded)
    assert watch.told == [("died", "m")]
    control.may_end.set()
    await settled(revive)
    assert watch.told == [("died", "m"), ("back", "m")]
    living = Watch()
    revive = reviving(Probe(), control, Underway(), Clock(), living)
    revive.suspect("m")
    await settled(revive)
    assert living.told == []


async def test_a_living_model_is_left_alone() -> None:
    """A suspicion is tested first: a model that answers, or is only busy, is neither loaded again nor cut off."""
    for probe in (Probe(), Probe(DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late"))):
        underway, control, waiting = Underway(), Control(), Cut()
        underway.enter("m", waiting.stream)
        revive = reviving(probe, control, underway, Clock())
        revive.suspect("m")
        await settled(revive)
        assert (probe.asked, control.reloaded, waiting.count) == (1, [], 0)


async def test_a_failed_reload_is_tried_again_later() -> None:
    """A reload that fails ends the attempt, not the service."""
    control, clock = Control(error=DEAD), Clock()
    control.may_end.set()
    revive = reviving(Probe(DEAD), control, Underway(), clock)
    for _ in range(3):
        revive.suspect("m")
        await eventually(lambda: not revive.reviving)
        clock.now_s += 5
    assert control.reloaded == ["m", "m", "m"][: len(control.reloaded)]
    assert len(control.reloaded) >= 2


async def test_a_reload_is_no_part_of_the_call_that_found_out() -> None:
    """It does not run under the caller's context, so neither its deadline nor its tenant."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    class Noting(Control):
        async def reload(self, model: str) -> None:
            seen.append(variable.get())

    variable.set("caller")
    revive = reviving(Probe(DEAD), Noting(), Underway(), Clock())
    revive.suspect("m")
    await eventually(lambda: seen)
    assert seen == ["none"]


async def test_closing_gives_up() -> None:
    """A reload under way does not hold up the stop."""
    control = Control()
    revive = reviving(Probe(DEAD), control, Underway(), Clock())
    revive.suspect("m")
    await eventually(lambda: control.reloaded)
    await revive.close()
    assert not revive.reviving


async def test_a_canary_asks_now_and_then() -> None:
    """A model that answers is asked again after ASK_EVERY_S, not before."""
    probe, clock = Probe(), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    for _ in range(3):
        await canary()
    assert probe.asked == 1
    clock.now_s += ASK_EVERY_S
    await canary()
    assert probe.asked == 2


async def test_a_canary_tells_of_death_and_of_life() -> None:
    """A dead model fails the check at the next asking; it is asked at each check until it answers."""
    probe, clock = Probe(), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    await canary()
    probe.error = DEAD
    clock.now_s += ASK_EVERY_S
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await canary()
    probe.error = None
    await canary()
    assert probe.asked == 4


async def test_a_model_that_is_not_loaded_is_not_asked() -> None:
    """The server's own word is enough where it says no."""
    probe = Probe(ready_error=DEAD)
    with pytest.raises(UnavailableError):
        await Canary("m", Catalogue([MODEL]), probe, Clock())()
    assert probe.asked == 0


async def test_busy_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer in time leaves the verdict as it was: serving after an answer, not serving before the first. Nobody is
    asked anew meanwhile, and nothing is cancelled: that can kill Triton."""
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 0.01)
    probe, clock = Probe(hangs=True), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    with pytest.raises(UnavailableError):
        await canary()
    with pytest.raises(UnavailableError):
        await canary()
    assert probe.asked == 1
    probe.hangs = False
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 30.0)
    await canary()
    probe.hangs = True
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 0.01)
    clock.now_s += ASK_EVERY_S
    await canary()
    assert (probe.asked, probe.cancelled) == (2, 0)
    probe.hangs = False


async def test_a_question_that_died_with_the_model_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never answered; another one after ASK_ANEW_AFTER_S finds the death. Nothing is cancelled."""
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 0.01)
    probe, clock = Probe(), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    await canary()
    clock.now_s += ASK_EVERY_S
    probe.loses = True
    await canary()
    probe.loses, probe.error = False, DEAD
    clock.now_s += ASK_ANEW_AFTER_S - 1
    await canary()
    assert probe.asked == 2
    clock.now_s += ASK_EVERY_S
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 30.0)
    with pytest.raises(UnavailableError, match="dead"):
        await canary()
    assert (probe.asked, probe.cancelled) == (3, 0)


async def test_a_busy_model_is_asked_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question beside those that are not answered waits twice as long as the one before it."""
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 0.001)
    probe, clock = Probe(hangs=True), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    asked_s = []
    for at in range(32):
        before = probe.asked
        with pytest.raises(UnavailableError, match="not answered yet"):
            await canary()
        asked_s += [at * ASK_ANEW_AFTER_S] * (probe.asked - before)
        clock.now_s += ASK_ANEW_AFTER_S
    assert asked_s == [turn * ASK_ANEW_AFTER_S for turn in (0, 1, 3, 7, 15, 31)]
    probe.hangs = False


async def test_a_late_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose answers take longer than ASK_ANEW_AFTER_S serves, however often it was asked meanwhile."""
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 0.01)
    probe, clock = Probe(hangs=True), Clock()
    canary = Canary("m", Catalogue([MODEL]), probe, clock)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="not answered yet"):
            await canary()
        clock.now_s += ASK_ANEW_AFTER_S - 1
    monkeypatch.setattr(canary_module, "ANSWER_WITHIN_S", 30.0)
    probe.hangs, probe.loses = False, True
    await canary()
    assert (probe.asked, probe.cancelled) == (2, 0)
