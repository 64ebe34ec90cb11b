"""Passages in Qdrant: one of its collections for each embedding engine, all tenants in it, apart by payload."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Sequence
from collections.abc import Collection as Container
from typing import Any, TypeVar

import grpc
from qdrant_client import AsyncQdrantClient, models

from libs.rpc.status import to_service_error
from services.rag.adapters.terms import Bm25Terms
from services.rag.domain.documents import Engine, Hit, Passage
from services.rag.ports import Garbage, PassageVector, Query, Scope

T = TypeVar("T")

_PREFIX = "weft-rag-1."
"""Another layout of the points is another number."""
_DENSE = "dense"
_WORDS = "bm25"
_TENANT, _COLLECTION, _VERSION = "tenant", "collection", "version"
_MIN_CANDIDATES = 100
"""Fusion scales each list's scores by their own spread: fewer say too little about it."""
_MAX_WITHOUT = 5000


class QdrantIndex:
    """The port PassageIndex over one Qdrant."""

    def __init__(self, client: AsyncQdrantClient, terms: Bm25Terms) -> None:
        self._client = client
        self._terms = terms
        self._ready: set[str] = set()

    async def check(self) -> None:
        """Raises UnavailableError where Qdrant does not answer."""
        await _reached(self._client.get_collections())

    async def add(self, scope: Scope, engine: Engine, passages: Sequence[PassageVector]) -> None:
        name, dimensions = _name_of(engine), len(passages[0].vector)
        await self._make_ready(name, dimensions)
        points = [self._point(scope, passage) for passage in passages]
        try:
            await self._client.upsert(name, points, wait=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise to_service_error(error, "qdrant") from error
            # Taken away behind our back, as when Qdrant began anew.
            self._ready.discard(name)
            await self._make_ready(name, dimensions)
            await _reached(self._client.upsert(name, points, wait=True))

    async def search(
        self, scope: Scope, engine: Engine, query: Query, *, limit: int, without: Container[str] = ()
    ) -> list[Hit]:
        requests = self._requests(scope, query, limit, list(without)[:_MAX_WITHOUT])
        if not requests:
            return []
        try:
            found, *dense = await self._client.query_batch_points(_name_of(engine), requests)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise to_service_error(error, "qdrant") from error
        similarities = {point.id: point.score for response in dense for point in response.points}
        if query.vector is not None and not dense:
            similarities = {point.id: point.score for point in found.points}
        return [Hit(_passage(point.payload or {}), point.score, similarities.get(point.id)) for point in found.points]

    async def remove(self, garbage: Garbage) -> None:
        selector = models.FilterSelector(filter=_filter_of(garbage))
        for name in await self._names():
            await _reached(self._client.delete(name, selector, wait=True))

    async def count(self, garbage: Garbage) -> int:
        counts = [
            await _reached(self._client.count(name, _filter_of(garbage), exact=True)) for name in await self._names()
        ]
        return sum(result.count for result in counts)

    def _requests(self, scope: Scope, query: Query, limit: int, without: Sequence[str]) -> list[models.QueryRequest]:
        """The query whose answer counts, and where it is a fusion, the dense one besides: it tells the similarities."""
        inside = _inside(scope)
        where = models.Filter(must=inside.must, must_not=[_match(_VERSION, *without)] if without else None)
        candidates = max(limit, _MIN_CANDIDATES)
        words = self._terms.of_query(query.text)
        dense = None if query.vector is None else list(query.vector)
        sparse = models.SparseVector(indices=words.indices, values=words.values) if words.indices else None
        params = models.SearchParams(idf=models.IdfCorpusParams(corpus=inside))
        if dense is not None and sparse is not None:
            fused = models.QueryRequest(
                prefetch=[
                    models.Prefetch(query=dense, using=_DENSE, filter=where, limit=candidates),
                    models.Prefetch(query=sparse, using=_WORDS, filter=where, limit=candidates, params=params),
                ],
                query=models.FusionQuery(fusion=models.Fusion.DBSF),
                limit=limit,
                with_payload=True,
            )
            return [fused, models.QueryRequest(query=dense, using=_DENSE, filter=where, limit=candidates)]
        if dense is not None:
            return [models.QueryRequest(query=dense, using=_DENSE, filter=where, limit=limit, with_payload=True)]
        if sparse is not None:
            return [
                models.QueryRequest(
                    query=sparse, using=_WORDS, filter=where, limit=limit, params=params, with_payload=True
                )
            ]
        return []

    def _point(self, scope: Scope, item: PassageVector) -> models.PointStruct:
        passage = item.passage
        words = self._terms.of_passage(item.words)
        return models.PointStruct(
            id=str(uuid.uuid5(uuid.UUID(passage.version_id), str(passage.position))),
            vector={
                _DENSE: list(item.vector),
                _WORDS: models.SparseVector(indices=words.indices, values=words.values),
            },
            payload={
                _TENANT: scope.tenant,
                _COLLECTION: scope.uid,
                _VERSION: passage.version_id,
                "document_id": passage.document_id,
                "position": passage.position,
                "title": passage.title,
                "source_uri": passage.source_uri,
                "headings": list(passage.headings),
                "text": passage.text,
                "start": passage.start,
                "end": passage.end,
            },
        )

    async def _make_ready(self, name: str, dimensions: int) -> None:
        """Makes the collection where it is not there. Several may do so at a time: every step may have been done
        already."""
        if name in self._ready:
            return
        if not await _reached(self._client.collection_exists(name)):
            try:
                await self._client.create_collection(
                    name,
                    vectors_config={_DENSE: models.VectorParams(size=dimensions, distance=models.Distance.COSINE)},
                    sparse_vectors_config={_WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                )
            except grpc.aio.AioRpcError as error:
                if "already exists" not in (error.details() or ""):
                    raise to_service_error(error, "qdrant") from error
        for field in (_TENANT, _COLLECTION, _VERSION):
            schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=field == _TENANT)
            await _reached(self._client.create_payload_index(name, field, schema, wait=True))
        self._ready.add(name)

    async def _names(self) -> list[str]:
        collections = (await _reached(self._client.get_collections())).collections
        return [collection.name for collection in collections if collection.name.startswith(_PREFIX)]


async def _reached(call: Awaitable[T]) -> T:
    """What a call returns; its failure as a ServiceError."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise to_service_error(error, "qdrant") from error


def _name_of(engine: Engine) -> str:
    """A name that Qdrant takes, and that no other engine has in practice."""
    return _PREFIX + re.sub(r"[^A-Za-z0-9._-]", "_", f"{engine.model}.{engine.version}")[:200]


def _match(field: str, *values: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


def _inside(scope: Scope) -> models.Filter:
    return models.Filter(must=[_match(_TENANT, scope.tenant), _match(_COLLECTION, scope.uid)])


def _filter_of(garbage: Garbage) -> models.Filter:
    must: Any = _inside(garbage.scope).must
    return models.Filter(must=[*must, _match(_VERSION, garbage.version_id)] if garbage.version_id else must)


def _passage(payload: dict[str, Any]) -> Passage:
    return Passage(
        document_id=payload["document_id"],
        version_id=payload[_VERSION],
        position=payload["position"],
        title=payload["title"],
        source_uri=payload["source_uri"],
        headings=tuple(payload["headings"]),
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
    )
