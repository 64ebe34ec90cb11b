"""Traces over OTLP. Off until `configure` is called with an endpoint; while off, OpenTelemetry is not even imported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


FLUSH_WITHIN_S = 5.0


class _State:
    provider: TracerProvider | None = None


def configure(service: str, endpoint: str) -> None:
    """Sends spans of this process to the OTLP collector at `endpoint` (host:port, gRPC, plain). Empty: does nothing."""
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"weft-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    _State.provider = provider


def enabled() -> bool:
    """Whether this process makes spans."""
    return _State.provider is not None


def server_interceptors() -> list[Any]:
    """Interceptors that make a span of each call served; none while traces are off."""
    if _State.provider is None:
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    return [aio_server_interceptor(tracer_provider=_State.provider)]  # type: ignore[no-untyped-call]


def client_interceptors() -> list[Any]:
    """Interceptors that make a span of each call made and pass the trace on; none while traces are off."""
    if _State.provider is None:
        return []
    from opentelemetry.instrumentation.grpc import aio_client_interceptors

    return list(aio_client_interceptors(tracer_provider=_State.provider))  # type: ignore[no-untyped-call]


def annotate(fields: Mapping[str, str]) -> str:
    """Puts `fields` on the running span as `weft.*`; returns its trace id in hex, "" while traces are off."""
    if _State.provider is None:
        return ""
    from opentelemetry import trace

    span = trace.get_current_span()
    for name, value in fields.items():
        span.set_attribute(f"weft.{name}", value)
    return format(span.get_span_context().trace_id, "032x")


async def shutdown() -> None:
    """Sends what is still held back, for at most FLUSH_WITHIN_S, and switches traces off."""
    provider, _State.provider = _State.provider, None
    if provider is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_WITHIN_S):
            await asyncio.to_thread(provider.shutdown)
