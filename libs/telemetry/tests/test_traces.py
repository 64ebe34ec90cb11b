"""Traces reach a collector over OTLP, one for all hops of a call; while off, OpenTelemetry is not imported."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.errors import errors
from libs.errors.errors import Reason
from libs.rpc.channel import channel
from libs.rpc.server import Component
from libs.telemetry import traces
from libs.testing.serving import KEY, calling, raw_stream, raw_unary, serving

OUTER = "/inference.GRPCInferenceService/ModelInfer"
INNER = "/inference.GRPCInferenceService/ModelStreamInfer"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    async def Export(self, request: Any, context: Any) -> Any:
        self.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return otlp.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Traces are on while entered; all spans have come when it is left."""
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    traces.configure("lab", f"127.0.0.1:{port}")
    try:
        yield collector
    finally:
        await traces.shutdown()
        await server.stop(None)


async def test_one_trace_over_two_hops() -> None:
    """A unary call that makes a streamed one is one trace, the caller's; its spans have tenant and call id."""

    async def stream(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for body in bodies:
            yield body

    def forwarding(inwards: grpc.aio.Channel) -> Any:
        async def forward(body: bytes, context: Any) -> bytes:
            return b"".join([chunk async for chunk in raw_stream(inwards, INNER)(iter([body, body]))])

        return forward

    context = seal(CallContext("acme", "alice", "call-1", "r-1", "normal", time.time() + 30), KEY)
    async with (
        collecting() as collector,
        serving(Component(passthrough={INNER: stream})) as inside,
        channel(inside.address) as inwards,
        serving(Component(passthrough={OUTER: forwarding(inwards)})) as outside,
        grpc.aio.insecure_channel(outside.address) as calls,
    ):
        sent = ((headers.TRACE_PARENT, PARENT), (headers.CONTEXT, context))
        assert await raw_unary(calls, OUTER)(b"x", metadata=sent, timeout=30) == b"xx"
    served = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert {f"/{span.name.removeprefix('/')}" for span in served} == {OUTER, INNER}
    assert {span.trace_id.hex() for span in collector.spans} == {PARENT[3:35]}
    attributes = [{item.key: item.value.string_value for item in span.attributes} for span in served]
    assert {(found["weft.tenant"], found["weft.call_id"]) for found in attributes} == {("acme", "call-1")}


async def test_a_failure_is_in_its_span() -> None:
    """A call that fails still answers as it should, and its span has the status."""

    async def fail(body: bytes, context: Any) -> bytes:
        raise errors.NotFoundError(Reason.MODEL_NOT_FOUND, "no such model", metadata={"model": "m"})

    component = Component(passthrough={OUTER: fail})
    async with collecting() as collector, serving(component) as served, calling(served) as calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_unary(calls, OUTER)(b"")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    (span,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    codes = {item.key: item.value for item in span.attributes}
    assert codes["rpc.grpc.status_code"].int_value == grpc.StatusCode.NOT_FOUND.value[0]


def test_nothing_is_imported_while_off() -> None:
    """A service without an endpoint does not even load OpenTelemetry."""
    program = (
        "import sys, libs.rpc.server; from libs.telemetry import traces; traces.configure('lab', '');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
