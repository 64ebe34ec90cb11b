"""Vectors from the embedding service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from libs.errors.errors import Reason, UnavailableError
from libs.rpc.status import to_service_error
from services.rag.domain.documents import Engine
from services.rag.ports import Embedded
from weft.embedding.v1 import embedding_service_pb2 as pb
from weft.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

_MAX_TEXT_CHARS = 8_000
"""More never fits an embedding model's window; the service refuses much longer texts."""


class EmbeddingServiceEmbedder:
    """The port Embedder. `timeout_s` bounds a call that has more time: who searches can do without vectors."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._stub = pb_grpc.EmbeddingServiceStub(channel)
        self._timeout_s = timeout_s
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine | None:
        return self._engine

    async def embed(self, texts: Sequence[str]) -> Embedded:
        request = pb.EmbedRequest(texts=[text[:_MAX_TEXT_CHARS] for text in texts])
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._stub.Embed(request)
        except TimeoutError:
            raise _late() from None
        except grpc.aio.AioRpcError as error:
            raise to_service_error(error, "embedding") from error
        self._engine = Engine(response.model, response.model_version)
        vectors = [embedding.values for embedding in response.embeddings]
        return Embedded(vectors, self._engine, response.usage.input_tokens)


def _late() -> UnavailableError:
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "embedding did not answer in time; try again",
        metadata={"dependency": "embedding"},
        retry_after_s=1.0,
    )
