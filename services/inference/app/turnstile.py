"""The one way to a model: a turn for each execution, by priority, within bounds, while the model works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType

from libs.errors.errors import ServiceError, UnavailableError
from libs.telemetry import logs
from services.inference.app.traffic import Traffic
from services.inference.domain.breaker import Breaker, State, verdict_of
from services.inference.domain.callers import Caller
from services.inference.domain.line import Bounds, Line, Ticket, overloaded
from services.inference.domain.models import model_unavailable


class _Gate:
    """What is in front of one model."""

    def __init__(self, model: str, bounds: Bounds) -> None:
        self.model = model
        self.line = Line(bounds)
        self.breaker = Breaker()
        self.called: dict[Ticket, asyncio.Future[None]] = {}
        """Of the tickets that wait: done when their turn has come, or failed."""


class Turn:
    """A slot of a model, until it is given back: as a context manager, or by `end`, the first of which counts."""

    __slots__ = ("_ended", "_produced", "_turnstile", "gate", "ticket")

    def __init__(self, turnstile: Turnstile, gate: _Gate, ticket: Ticket) -> None:
        self._turnstile = turnstile
        self._ended = self._produced = False
        self.gate = gate
        self.ticket = ticket

    def produced(self) -> None:
        """The model has given something."""
        if not self._produced:
            self._produced = True
            self.gate.breaker.works(self)

    def end(self, error: BaseException | None = None) -> None:
        """The execution is over; `error` is why, where it failed."""
        if not self._ended:
            self._ended = True
            self._turnstile.leave(self, verdict_of(error, produced=self._produced))

    def __enter__(self) -> Turn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class Turnstile:
    """Turns for all models. Names of models come from the catalogue, so there are few."""

    def __init__(self, bounds: Callable[[str], Bounds], traffic: Traffic, now_s: Callable[[], float]) -> None:
        """`bounds` are each model's own."""
        self._bounds = bounds
        self._traffic = traffic
        self._now_s = now_s
        self._gates: dict[str, _Gate] = {}

    async def enter(self, model: str, caller: Caller) -> Turn:
        """Waits for the caller's turn. Who is cancelled while waiting leaves no hole.

        Raises ResourceExhaustedError (OVERLOADED) where there is no place, or the turn would come too late, at once or
        as soon as that is known; UnavailableError (MODEL_UNAVAILABLE) while the model is known to fail. RetryInfo says
        when to come back.
        """
        gate, now_s = self._gate(model), self._now_s()
        self._refuse_broken(gate, now_s)
        with self._counting_refusals(gate):
            ticket, displaced = gate.line.enter(caller.tenant, caller.priority, now_s, caller.within_s)
        if displaced is not None:
            self._refuse(gate, displaced, "a more urgent call, or another tenant's, took its place")
        turn_has_come = gate.called[ticket] = asyncio.get_running_loop().create_future()
        self._call_next(gate)
        try:
            if not turn_has_come.done():
                await turn_has_come
            turn_has_come.result()
            self._refuse_broken(gate, self._now_s())
        except BaseException:
            gate.called.pop(ticket, None)
            if turn_has_come.done() and not turn_has_come.cancelled():
                turn_has_come.exception()  # Who leaves at the same moment need not be told.
            gate.line.leave(ticket, self._now_s(), counts=ticket.begun_s is None)
            self._call_next(gate)
            raise
        turn = Turn(self, gate, ticket)
        gate.breaker.begin(turn)
        self._traffic.began(model, caller.priority, self._now_s() - ticket.arrived_s)
        return turn

    def leave(self, turn: Turn, verdict: bool | None) -> None:
        """For `Turn.end`."""
        gate, now_s = turn.gate, self._now_s()
        before = gate.breaker.state(now_s)
        gate.breaker.end(turn, verdict, now_s)
        gate.line.leave(turn.ticket, now_s, counts=verdict is not False)
        if gate.breaker.state(now_s) is State.OPEN and before is not State.OPEN:
            self._opened(gate, "it keeps failing")
        self._call_next(gate)

    def died(self, model: str) -> None:
        """The model is known to be dead: nobody need find that out by a call."""
        gate = self._gate(model)
        gate.breaker.trip(self._now_s())
        self._opened(gate, "its process died")

    def back(self, model: str) -> None:
        """The model was loaded again: the next call tries it."""
        gate = self._gate(model)
        gate.breaker.retry(self._now_s())
        self._told(gate)

    def _gate(self, model: str) -> _Gate:
        if model not in self._gates:
            self._gates[model] = _Gate(model, self._bounds(model))
        return self._gates[model]

    def _call_next(self, gate: _Gate) -> None:
        """Gives out what slots there are."""
        now_s = self._now_s()
        while ticket := gate.line.next(now_s):
            turn_has_come = gate.called.pop(ticket)
            if turn_has_come.done():  # It is about to leave.
                gate.line.leave(ticket, now_s, counts=False)
            elif gate.line.comes_too_late(ticket, now_s):
                gate.line.leave(ticket, now_s, counts=False)
                self._fail(
                    gate, turn_has_come, overloaded("its turn came too late", gate.line.retry_s(ticket.priority))
                )
            else:
                turn_has_come.set_result(None)
        self._told(gate)

    def _refuse(self, gate: _Gate, ticket: Ticket, why: str) -> None:
        gate.line.leave(ticket, self._now_s())
        self._fail(gate, gate.called.pop(ticket), overloaded(why, gate.line.retry_s(ticket.priority)))

    def _fail(self, gate: _Gate, turn_has_come: asyncio.Future[None], error: ServiceError) -> None:
        if not turn_has_come.done():
            turn_has_come.set_exception(error)
            self._traffic.refused(gate.model, error.reason)

    def _opened(self, gate: _Gate, why: str) -> None:
        """Nobody waits for a model that fails."""
        logs.warning("breaker opened", model=gate.model, why=why)
        self._traffic.opened(gate.model)
        for ticket in gate.line.tickets():
            gate.line.leave(ticket, self._now_s(), counts=False)
            self._fail(gate, gate.called.pop(ticket), self._broken(gate, self._now_s()))
        self._told(gate)

    def _refuse_broken(self, gate: _Gate, now_s: float) -> None:
        if gate.breaker.refused_for_s(now_s) is not None:
            error = self._broken(gate, now_s)
            self._traffic.refused(gate.model, error.reason)
            raise error

    def _broken(self, gate: _Gate, now_s: float) -> UnavailableError:
        return model_unavailable(
            gate.model, "it fails, and is left alone for a while", gate.breaker.refused_for_s(now_s)
        )

    @contextmanager
    def _counting_refusals(self, gate: _Gate) -> Generator[None]:
        try:
            yield
        except ServiceError as error:
            self._traffic.refused(gate.model, error.reason)
            raise

    def _told(self, gate: _Gate) -> None:
        self._traffic.now(gate.model, gate.line, gate.breaker.state(self._now_s()))
