"""What is told of the models' queues: metrics, by model and class."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Gauge

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

    def __init__(self) -> None:
        self._known: dict[str, tuple[Gauge, Mapping[Priority, Gauge], Gauge]] = {}

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
        running, waiting, breaker = self._gauges(model)
        running.set(line.running)
        for priority, gauge in waiting.items():
            gauge.set(line.waiting(priority))
        breaker.set(state)

    def _gauges(self, model: str) -> tuple[Gauge, Mapping[Priority, Gauge], Gauge]:
        """Looked up once a model: they are set at each call."""
        found = self._known.get(model)
        if found is None:
            waiting = {one: _WAITING.labels(model=model, priority=one.name.lower()) for one in Priority}
            found = self._known[model] = _RUNNING.labels(model=model), waiting, _BREAKER.labels(model=model)
        return found
