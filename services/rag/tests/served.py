"""rag over real stores, called as the gateway calls it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from libs.contracts import headers
from libs.parts.processes import RunningPart
from libs.testing.parts import QDRANT_API_KEY
from libs.testing.serving import Served, calling, serving
from services.rag.settings import RagSettings
from services.rag.tests.conftest import redis_url
from services.rag.tests.neighbours import Embedding, Generation, embedding_component, generation_component
from services.rag.wiring import rag
from weft.rag.v1 import (
    answer_service_pb2_grpc,
    collection_service_pb2,
    collection_service_pb2_grpc,
    document_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)


@dataclass(frozen=True)
class Caller:
    """rag's services for one tenant, and what tests do with them all the time."""

    channel: grpc.aio.Channel

    @property
    def collections(self) -> collection_service_pb2_grpc.CollectionServiceAsyncStub:
        return collection_service_pb2_grpc.CollectionServiceStub(self.channel)

    @property
    def documents(self) -> document_service_pb2_grpc.DocumentServiceAsyncStub:
        return document_service_pb2_grpc.DocumentServiceStub(self.channel)

    @property
    def searches(self) -> search_service_pb2_grpc.SearchServiceAsyncStub:
        return search_service_pb2_grpc.SearchServiceStub(self.channel)

    @property
    def answers(self) -> answer_service_pb2_grpc.AnswerServiceAsyncStub:
        return answer_service_pb2_grpc.AnswerServiceStub(self.channel)

    async def create(self, collection: str, *, request_id: str = "") -> collection_service_pb2.CreateCollectionResponse:
        request = collection_service_pb2.CreateCollectionRequest(collection=collection, request_id=request_id)
        return await self.collections.CreateCollection(request)

    async def put(
        self, collection: str, document_id: str, text: str, *, request_id: str = ""
    ) -> document_service_pb2.IngestDocumentResponse:
        request = document_service_pb2.IngestDocumentRequest(
            collection=collection,
            document_id=document_id,
            media_type=document_pb2.MEDIA_TYPE_MARKDOWN,
            content=text.encode(),
            request_id=request_id,
        )
        return await self.documents.IngestDocument(request)

    async def delete(self, collection: str, document_id: str) -> None:
        request = document_service_pb2.DeleteDocumentRequest(collection=collection, document_id=document_id)
        await self.documents.DeleteDocument(request)

    async def search(self, collection: str, query: str, top_k: int = 0) -> search_service_pb2.SearchResponse:
        request = search_service_pb2.SearchRequest(collection=collection, query=query, top_k=top_k)
        return await self.searches.Search(request)

    async def found(self, collection: str, query: str, top_k: int = 0) -> list[str]:
        """The texts that a search finds, best first."""
        return [passage.text for passage in (await self.search(collection, query, top_k)).passages]


@dataclass(frozen=True)
class Rag:
    """A served rag, and the services that it calls."""

    served: Served
    embedding: Embedding
    generation: Generation


def settings_for(
    redis: RunningPart, qdrant: RunningPart, embedding: str, inference: str, tokenizer_file: Path
) -> RagSettings:
    """Settings whose leases and graces are short enough for tests."""
    return RagSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "context_key_file": Path("unused"),
            "redis_url": redis_url(redis),
            "qdrant_address": qdrant.address,
            "qdrant_api_key": QDRANT_API_KEY,
            "embedding_address": embedding,
            "inference_address": inference,
            "tokenizer_file": tokenizer_file,
            "sweep_every_s": 0.1,
            "sweep_grace_s": 0.0,
            "ingest_lease_s": 5.0,
            "embedding_timeout_s": 5.0,
            "answer_similarity": 0.3,
        }
    )


@asynccontextmanager
async def rag_served(
    redis: RunningPart, qdrant: RunningPart, tokenizer_file: Path, *, inference: str = ""
) -> AsyncIterator[Rag]:
    """rag in this process, over real stores, before the inference service at an address, or else one of its own."""
    embedding, generation = Embedding(), Generation()
    async with (
        serving(embedding_component(embedding)) as embedder,
        serving(generation_component(generation)) as generator,
        rag(settings_for(redis, qdrant, embedder.address, inference or generator.address, tokenizer_file)) as component,
        serving(component) as served,
    ):
        yield Rag(served, embedding, generation)


@asynccontextmanager
async def caller(
    served: Served, tenant: str = "", *, allowance_tokens: int | None = None, max_output_tokens: int = 0
) -> AsyncIterator[Caller]:
    """A caller of a tenant; of one that no other test has where none is named. Each of its calls has the allowance."""
    name = tenant or f"tenant-{uuid.uuid4()}"
    async with calling(served, name, allowance_tokens=allowance_tokens, max_output_tokens=max_output_tokens) as channel:
        yield Caller(channel)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of the one ErrorInfo that every failed call has."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata[headers.STATUS_DETAILS])
    infos = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            infos.append(info)
    assert len(infos) == 1
    assert infos[0].domain == "weft"
    return str(infos[0].reason)
