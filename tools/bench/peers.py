"""What a bench puts around the gateway: `python -m tools.bench.peers direct | forward | service`.

`direct`: a grpc.aio server that answers at once. `forward`: a server that passes bytes on to `UPSTREAM` and does
nothing else. `service`: the same answers from a service of Weft's, which tells the ledger what it used.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.rpc.process import run  # first: it tells gRPC what gRPC reads when it is imported

# isort: split
import grpc
import uvloop

from libs.config.settings import ServiceSettings, settings_config
from libs.ledger.ledger import RedisLedger
from libs.rpc.call import depends
from libs.rpc.executions import executing
from libs.rpc.server import Component
from libs.store.redis import connect
from weft.common.v1.usage_pb2 import Usage
from weft.embedding.v1 import embedding_service_pb2 as embedding_pb
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import generation_service_pb2_grpc as pb_grpc

GENERATE = "/weft.inference.v1.GenerationService/Generate"
STREAM = "/weft.inference.v1.GenerationService/StreamGenerate"
EMBED = "/weft.embedding.v1.EmbeddingService/Embed"
STAMPS = {"model/embed": "1"}
TOKENS = 256
"""Deltas of a stream."""

USED = Usage(input_tokens=40, output_tokens=TOKENS)
ANSWER = pb.GenerateResponse(text="x" * 120, finish_reason=pb.FINISH_REASON_STOP, usage=USED, model="bench")
VECTORS = embedding_pb.EmbedResponse(embeddings=[embedding_pb.Embedding(values=[0.5] * 30, token_count=8)])
DELTA = "word "
LEDGER_CLOSES_WITHIN_S = 5.0

_OPTIONS = (("grpc.so_reuseport", 0),)


class Generation(pb_grpc.GenerationServiceServicer):
    """Answers at once."""

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        return ANSWER

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        for sequence in range(TOKENS):
            yield pb.StreamGenerateResponse(sequence=sequence, delta=pb.Delta(text=DELTA))
        yield pb.StreamGenerateResponse(sequence=TOKENS, usage=USED)


class MeteredGeneration(Generation):
    """The same, written down."""

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        async with executing("generate") as execution:
            execution.used(input_tokens=USED.input_tokens, output_tokens=USED.output_tokens)
            return await super().Generate(request, context)

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        async with executing("generate") as execution:
            async for event in super().StreamGenerate(request, context):
                execution.used(input_tokens=USED.input_tokens, output_tokens=event.sequence)
                yield event


class MeteredEmbedding(embedding_grpc.EmbeddingServiceServicer):
    """An answer that may be kept."""

    async def Embed(self, request: embedding_pb.EmbedRequest, context: Any) -> embedding_pb.EmbedResponse:
        depends(STAMPS)
        async with executing("embed") as execution:
            execution.used(input_tokens=8, output_tokens=0)
            return VECTORS


class _Forward(grpc.GenericRpcHandler):
    """Passes on whatever it is: one request, one answer or many."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        generate: Any = upstream.unary_unary(GENERATE)
        stream_generate: Any = upstream.unary_stream(STREAM)

        async def unary(body: bytes, context: Any) -> bytes:
            answer: bytes = await generate(body)
            return answer

        async def stream(body: bytes, context: Any) -> AsyncIterator[bytes]:
            async for answer in stream_generate(body):
                yield answer

        self._handlers: dict[str, Any] = {
            GENERATE: grpc.unary_unary_rpc_method_handler(unary),
            STREAM: grpc.unary_stream_rpc_method_handler(stream),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


async def _serve(server: grpc.aio.Server) -> None:
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "ready", "address": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


async def _direct() -> None:
    server = grpc.aio.server(options=_OPTIONS)
    pb_grpc.add_GenerationServiceServicer_to_server(Generation(), server)
    await _serve(server)


async def _forward() -> None:
    async with grpc.aio.insecure_channel(os.environ["UPSTREAM"]) as upstream:
        await _serve(grpc.aio.server(handlers=[_Forward(upstream)], options=_OPTIONS))


class BenchSettings(ServiceSettings):
    """`WEFT_BENCH_...`."""

    model_config = settings_config("WEFT_BENCH_")


@asynccontextmanager
async def _service(settings: BenchSettings) -> AsyncIterator[Component]:
    async with connect(settings.redis_url.get_secret_value()) as redis:
        ledger = RedisLedger(redis)
        yield Component(
            servicers=[
                (pb_grpc.add_GenerationServiceServicer_to_server, MeteredGeneration()),
                (embedding_grpc.add_EmbeddingServiceServicer_to_server, MeteredEmbedding()),
            ],
            accounts=ledger,
        )
        await ledger.aclose(LEDGER_CLOSES_WITHIN_S)


if __name__ == "__main__":
    if sys.argv[1] == "service":
        run("bench", BenchSettings, _service)
    else:
        uvloop.run({"direct": _direct, "forward": _forward}[sys.argv[1]]())
