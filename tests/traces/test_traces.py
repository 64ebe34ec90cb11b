"""One setting turns traces on, and one question is one trace over all services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

import weft.client
from libs.contracts import headers
from libs.testing.eventually import eventually
from tests.conftest import MODULE, RunningStack, Steps
from tools.stack.bringup import bring_up
from tools.stack.part import load_declaration
from tools.stack.setup import SAMPLE_COLLECTION, TENANT
from tools.stack.start import OTLP_ENDPOINT
from weft.rag.v1 import answer_service_pb2

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that remembers which service took part in which trace."""

    def __init__(self) -> None:
        self.services: dict[str, set[str]] = {}

    async def Export(self, request: Any, context: Any) -> Any:
        for spans in request.resource_spans:
            (name,) = [item.value.string_value for item in spans.resource.attributes if item.key == "service.name"]
            for scope in spans.scope_spans:
                for span in scope.spans:
                    self.services.setdefault(span.trace_id.hex(), set()).add(name.removeprefix("weft-"))
        return otlp.ExportTraceServiceResponse()


async def test_one_question_is_one_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's trace goes through gateway, rag, embedding and inference to the collector."""
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv(OTLP_ENDPOINT, f"127.0.0.1:{port}")
    any_free = {part.name: "0" for part in load_declaration(MODULE).parts}
    launched = await asyncio.to_thread(bring_up, tmp_path / "state", MODULE, Steps(), ports=any_free)
    try:
        stack = RunningStack(launched.stack)
        question = answer_service_pb2.Question(collection=SAMPLE_COLLECTION, text="What is hybrid search?")
        async with weft.client.connect(stack.address, token=stack.token(tenant=TENANT)) as client:
            sent = ((headers.TRACE_PARENT, f"00-{TRACE_ID}-b7ad6b7169203331-01"),)
            request = answer_service_pb2.AnswerRequest(question=question)
            assert (await client.answers.Answer(request, metadata=sent)).citations
        everywhere = {"gateway", "rag", "embedding", "inference"}
        await eventually(lambda: collector.services.get(TRACE_ID) == everywhere, within_s=20)
    finally:
        await asyncio.to_thread(launched.stop)
        await server.stop(None)
