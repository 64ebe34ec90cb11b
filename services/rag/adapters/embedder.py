"""Vectors from the embedding service."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from libs.errors.errors import NotFoundError, Reason, ResourceExhaustedError, ServiceError
from services.rag.adapters.inner_calls import away, failure_of, is_stamped
from services.rag.domain.documents import Engine
from services.rag.ports import Embedded
from weft.embedding.v1 import embedding_service_pb2 as pb
from weft.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

_MAX_TEXT_CHARS = 8_000
"""More never fits an embedding model's window; the service refuses much longer texts."""


class EmbeddingServiceEmbedder:
    """The port Embedder. It has the time that the running call has."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        request = pb.EmbedRequest(texts=[text[:_MAX_TEXT_CHARS] for text in texts])
        try:
            call = self._stub.Embed(request)
            response = await call
        except grpc.aio.AioRpcError as error:
            raise _failure(failure_of(error, "embedding")) from error
        engine = Engine(response.model, response.model_version)
        vectors = [embedding.values for embedding in response.embeddings]
        return Embedded(vectors, engine, response.usage.input_tokens, await is_stamped(call))


def _failure(error: ServiceError) -> ServiceError:
    """A model that is missing there and a service that is full are, for who asks rag, embedding being away. A budget
    that is used up is the caller's own."""
    if not isinstance(error, NotFoundError | ResourceExhaustedError) or error.reason is Reason.BUDGET_EXHAUSTED:
        return error
    return away("embedding", f"embedding cannot embed right now ({error.message}); try again", error.retry_after_s)
