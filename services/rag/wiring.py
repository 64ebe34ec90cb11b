"""Builds rag from its settings."""

from __future__ import annotations

import asyncio
import time
import uuid
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import grpc
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient

from libs.ledger.ledger import RedisLedger
from libs.rpc.beside import beside
from libs.rpc.channel import channel
from libs.rpc.health import serves
from libs.rpc.server import Component
from libs.store.redis import connect
from libs.telemetry import logs
from services.rag.adapters.catalogue import RedisCatalogue
from services.rag.adapters.catalogue_limits import CatalogueLimits
from services.rag.adapters.embedder import EmbeddingServiceEmbedder
from services.rag.adapters.generator import InferenceServiceGenerator
from services.rag.adapters.index import QdrantIndex
from services.rag.adapters.parsing.parser import parse_content
from services.rag.adapters.terms import Bm25Terms
from services.rag.adapters.tokenizer import FileTokenizer
from services.rag.app.answer_question import AnswerLimits, AnswerQuestion
from services.rag.app.ingest_document import IngestDocument, IngestLimits
from services.rag.app.search_passages import SearchPassages
from services.rag.app.sweep import Sweep
from services.rag.domain.evidence import Thresholds
from services.rag.rpc.answers import AnswerServicer
from services.rag.rpc.collections import CollectionServicer
from services.rag.rpc.documents import DocumentServicer
from services.rag.rpc.search import SearchServicer
from services.rag.settings import RagSettings
from weft.rag.v1 import (
    answer_service_pb2_grpc,
    collection_service_pb2_grpc,
    document_service_pb2_grpc,
    search_service_pb2_grpc,
)

_STORE_TIMEOUT_S = 10
_REDIS_CONNECTIONS = 64
_LEDGER_CLOSES_WITHIN_S = 5
"""What the ledger was told and has not written is tried for so long after the last call."""


@asynccontextmanager
async def rag(settings: RagSettings) -> AsyncIterator[Component]:
    """rag, connected and sweeping while entered. What it depends on need not be there yet."""
    async with AsyncExitStack() as stack:
        url = settings.redis_url.get_secret_value()
        redis = await stack.enter_async_context(connect(url, _STORE_TIMEOUT_S, _REDIS_CONNECTIONS))
        ledger = RedisLedger(await stack.enter_async_context(connect(url)))
        stack.push_async_callback(ledger.aclose, _LEDGER_CLOSES_WITHIN_S)
        key = _secret(settings.qdrant_api_key)
        qdrant = await stack.enter_async_context(connect_qdrant(settings.qdrant_address, key))
        embedding = await stack.enter_async_context(channel(settings.embedding_address))
        inference = await stack.enter_async_context(channel(settings.inference_address))
        terms = Bm25Terms()
        catalogue = RedisCatalogue(redis, _catalogue_limits(settings), new_id=_new_id, now_s=time.time)
        index = QdrantIndex(qdrant, terms)
        sweep = Sweep(catalogue, index)
        await stack.enter_async_context(beside(_sweep_again_and_again(sweep, settings.sweep_every_s)))
        yield replace(component(settings, catalogue, index, terms, embedding, inference), accounts=ledger)


def component(
    settings: RagSettings,
    catalogue: RedisCatalogue,
    index: QdrantIndex,
    terms: Bm25Terms,
    embedding: grpc.aio.Channel,
    inference: grpc.aio.Channel,
) -> Component:
    """What rag serves, over stores and services that are connected."""
    tokenizer = FileTokenizer(settings.tokenizer_file)
    embedder = EmbeddingServiceEmbedder(embedding)
    search = SearchPassages(catalogue, index, embedder, embedding_timeout_s=settings.embedding_timeout_s)
    limits = IngestLimits(passage_tokens=settings.passage_tokens, parallel=settings.parallel_ingests)
    ingest = IngestDocument(
        catalogue, index, embedder, parse_content, tokenizer, limits, new_id=_new_id, now_s=time.time
    )
    answer = AnswerQuestion(search, InferenceServiceGenerator(inference), tokenizer, terms, _answer_limits(settings))
    can_embed = serves(embedding, "embedding", "weft.embedding.v1.EmbeddingService")
    can_generate = serves(inference, "inference", "weft.inference.v1.GenerationService")
    return Component(
        servicers=[
            (collection_service_pb2_grpc.add_CollectionServiceServicer_to_server, CollectionServicer(catalogue)),
            (document_service_pb2_grpc.add_DocumentServiceServicer_to_server, DocumentServicer(catalogue, ingest)),
            (search_service_pb2_grpc.add_SearchServiceServicer_to_server, SearchServicer(search)),
            (answer_service_pb2_grpc.add_AnswerServiceServicer_to_server, AnswerServicer(answer)),
        ],
        checks={
            "weft.rag.v1.CollectionService": [catalogue.check],
            "weft.rag.v1.DocumentService": [catalogue.check, index.check, can_embed],
            "weft.rag.v1.SearchService": [catalogue.check, index.check],
            "weft.rag.v1.AnswerService": [catalogue.check, index.check, can_generate],
        },
    )


@asynccontextmanager
async def connect_qdrant(address: str, api_key: str | None) -> AsyncIterator[AsyncQdrantClient]:
    """A client over gRPC alone; TLS is the mesh's."""
    host, _, port = address.rpartition(":")
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    client = AsyncQdrantClient(
        host=host.strip("[]"),
        grpc_port=int(port),
        prefer_grpc=True,
        https=False,
        api_key=api_key,
        timeout=_STORE_TIMEOUT_S,
        check_compatibility=False,
        verify=False,  # for its REST half, which is not used: else it loads certificates, 5 MB of them
    )
    try:
        yield client
    finally:
        await client.close()


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _catalogue_limits(settings: RagSettings) -> CatalogueLimits:
    return CatalogueLimits(
        max_collections=settings.max_collections,
        max_documents=settings.max_documents,
        ingest_lease_s=settings.ingest_lease_s,
        sweep_grace_s=settings.sweep_grace_s,
    )


def _answer_limits(settings: RagSettings) -> AnswerLimits:
    thresholds = Thresholds(settings.answer_similarity, settings.answer_coverage)
    return AnswerLimits(window_tokens=settings.model_window_tokens, thresholds=thresholds)


async def _sweep_again_and_again(sweep: Sweep, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            removed = await sweep()
        except Exception as error:
            logs.info("sweep", failed=type(error).__name__)
        else:
            if removed:
                logs.info("sweep", removed=removed)


def _new_id() -> str:
    return str(uuid.uuid4())
