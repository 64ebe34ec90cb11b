"""Metrics for Prometheus: one registry a process, read over HTTP at /metrics.

Names are `weft_<component>_<what>`, with `_total` for counters and the unit before it. Labels have few values: never a
tenant's own words, an id or a key.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from libs.config.settings import SettingsError

REQUEST_TIMEOUT_S = 5.0
"""A reader that says nothing for so long is hung up on: one is served at a time."""

REGISTRY = CollectorRegistry()

M = TypeVar("M", Counter, Gauge)
_made: dict[str, tuple[Counter | Gauge, tuple[str, ...]]] = {}

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=REGISTRY)


def counter(name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """What only grows: `counter(...).inc()`, with labels `.labels(reason="expired").inc()`.

    The same name gives the same counter. Raises ValueError where it was made with other labels, or as a gauge.
    """
    return _metric(Counter, name, help, tuple(labels))


def gauge(name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """What goes up and down: `.set(3)`, `.inc()`, `.dec()`, and `.clear()` for all labels. Otherwise as `counter`."""
    return _metric(Gauge, name, help, tuple(labels))


def value(sample: str, /, **labels: str) -> float:
    """What a sample ("weft_gateway_calls_total") is now; 0 where it never was."""
    return REGISTRY.get_sample_value(sample, labels) or 0.0


@contextmanager
def serve(address: str) -> Iterator[str]:
    """Answers GET /metrics at `address` (host:port, port 0 takes any) while entered, on a thread of its own.

    Gives the address; an empty one does nothing. Raises SettingsError where it cannot listen there.
    """
    if not address:
        yield ""
        return
    host, _, port = address.rpartition(":")
    try:
        server = HTTPServer((host.strip("[]"), int(port)), _Handler)
    except OSError as error:
        problem = f"METRICS_LISTEN={address}: cannot listen there ({error.strerror or error}); set another, or none"
        raise SettingsError([problem]) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _metric(kind: type[M], name: str, help: str, labels: tuple[str, ...]) -> M:
    if name not in _made:
        _made[name] = kind(name, help, labels, registry=REGISTRY), labels
    metric, known = _made[name]
    if not isinstance(metric, kind) or known != labels:
        raise ValueError(f"the metric {name} is there already, as a {type(metric).__name__} with the labels {known}")
    return metric


class _Handler(BaseHTTPRequestHandler):
    """One request a connection."""

    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "the metrics are at /metrics")
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(REGISTRY)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A reading is nothing to log."""
