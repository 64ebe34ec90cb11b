"""Tells operators what callers are told in the answer: that it had to do without something."""

from __future__ import annotations

from libs.telemetry import logs, metrics

VECTORS, MODEL = "vectors", "model"

_DEGRADED = metrics.counter("weft_rag_degraded_total", "Searches and answers that had to do without.", ("without",))


def degraded(without: str, reason: str) -> None:
    """A search without VECTORS, or an answer without a MODEL, and why."""
    _DEGRADED.labels(without=without).inc()
    logs.info("degraded", without=without, reason=reason)
