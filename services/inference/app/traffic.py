"""What is told of the models' queues: metrics, by model and class."""

from __future__ import annotations

from libs.errors.errors import Reason
from libs.telemetry import metrics
from services.inference.domain.breaker import State
from services.inference.domain.callers import Priority
from services.inference.domain.line import Line

_RUNNING = metrics.gauge("weft_inference_running", "executions under way", ["model"])
_WAITING = metrics.gauge("weft_inference_waiting", "calls that wait for a slot of the model", ["model", "priority"])
_TURNS = metrics.counter("weft_inference_turns_total", "executions that began", ["model", "priority"])
_WAITED = metrics.counter("weft_inference_waited_seconds_total", "waiting before those", ["model", "priority"])
_REFUSED = metrics.counter("weft_inference_refused_total", "calls that were refused a turn", ["model", "reason"])
_BREAKER = metrics.gauge(
    "weft_inference_breaker_state", "at the last call: 0 closed, 1 one call tries the model, 2 open", ["model"]
)
_OPENED = metrics.counter("weft_inference_breaker_opened_total", "times that the breaker opened", ["model"])


class Traffic:
    """Tells the metrics."""

    def began(self, model: str, priority: Priority, waited_s: float) -> None:
        """An execution began."""
        _TURNS.labels(model=model, priority=priority.name.lower()).inc()
        _WAITED.labels(model=model, priority=priority.name.lower()).inc(max(0.0, waited_s))

    def refused(self, model: str, reason: Reason) -> None:
        """A call was refused."""
        _REFUSED.labels(model=model, reason=reason.value).inc()

    def opened(self, model: str) -> None:
        """The breaker opened."""
        _OPENED.labels(model=model).inc()

    def now(self, model: str, line: Line, state: State) -> None:
        """How it is now."""
        _RUNNING.labels(model=model).set(line.running)
        for priority in Priority:
            _WAITING.labels(model=model, priority=priority.name.lower()).set(line.waiting(priority))
        _BREAKER.labels(model=model).set(state)
