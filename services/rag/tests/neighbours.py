"""The services behind rag, as far as rag can tell: their contracts, served for real, with simple answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from libs.errors.errors import Reason, ResourceExhaustedError, ServiceError
from libs.rpc.call import current_call, depends
from libs.rpc.executions import executing
from libs.rpc.server import Component
from libs.rpc.status import stream_error
from services.rag.tests.fakes import vector_of
from weft.common.v1 import usage_pb2
from weft.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from weft.inference.v1 import generation_service_pb2, generation_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Embedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Vectors of words, each of them a token. After `calls_left` calls it hangs until `go_on` is set.

    `version` is the model's, as it is told to whom answers may depend on it; empty: it is not told.
    """

    def __init__(self) -> None:
        self.version = "4"
        self.calls = 0
        self.calls_left = 1 << 30
        self.failure: ServiceError | None = None
        self.hanging = asyncio.Event()
        self.go_on = asyncio.Event()

    async def Embed(
        self, request: embedding_service_pb2.EmbedRequest, context: Context
    ) -> embedding_service_pb2.EmbedResponse:
        if self.failure is not None:
            raise self.failure
        self.calls += 1
        self.calls_left -= 1
        if self.calls_left < 0:
            self.hanging.set()
            await self.go_on.wait()
        tokens = sum(len(text.split()) for text in request.texts)
        async with executing("words") as execution:
            if execution.allowance_tokens is not None and tokens > execution.allowance_tokens:
                raise budget_exhausted()
            execution.used(input_tokens=tokens, output_tokens=0)
        if self.version:
            depends({"model/words": self.version})
        embeddings = [embedding_service_pb2.Embedding(values=vector_of(text)) for text in request.texts]
        usage = usage_pb2.Usage(input_tokens=tokens)
        return embedding_service_pb2.EmbedResponse(embeddings=embeddings, model="words", model_version="1", usage=usage)


class Generation(generation_service_pb2_grpc.GenerationServiceServicer):
    """Writes `pieces`, then hangs, fails or ends as `done` says. `version` as of Embedding."""

    def __init__(self) -> None:
        self.version = "7"
        self.done = generation_service_pb2.Done(
            finish_reason=generation_service_pb2.FINISH_REASON_STOP, model="simple-v1"
        )
        self.pieces = ["It is ", "so [1", "]."]
        self.hangs = False
        self.failure: ServiceError | None = None
        self.cancelled = asyncio.Event()
        self.tenants: list[str] = []

    async def Generate(
        self, request: generation_service_pb2.GenerateRequest, context: Context
    ) -> generation_service_pb2.GenerateResponse:
        raise NotImplementedError

    async def StreamGenerate(
        self, request: generation_service_pb2.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[generation_service_pb2.StreamGenerateResponse]:
        self.tenants.append(current_call().tenant)
        respond = generation_service_pb2.StreamGenerateResponse
        try:
            for number, piece in enumerate(self.pieces):
                yield respond(sequence=number, delta=generation_service_pb2.Delta(text=piece))
            if self.hangs:
                await asyncio.Event().wait()
            async with executing("simple") as execution:
                execution.used(input_tokens=100, output_tokens=len(self.pieces))
            yield respond(usage=usage_pb2.Usage(input_tokens=100, output_tokens=len(self.pieces)))
            if self.failure is not None:
                yield respond(error=stream_error(self.failure))
                raise self.failure
            if self.version:
                depends({"model/simple": self.version})
            yield respond(done=self.done)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def budget_exhausted() -> ResourceExhaustedError:
    """As inner services say it."""
    return ResourceExhaustedError(Reason.BUDGET_EXHAUSTED, "used up", metadata={"budget": "call"})


def embedding_component(embedding: Embedding) -> Component:
    """What serves it."""
    return Component([(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, embedding)])


def generation_component(generation: Generation) -> Component:
    """What serves it."""
    return Component([(generation_service_pb2_grpc.add_GenerationServiceServicer_to_server, generation)])
