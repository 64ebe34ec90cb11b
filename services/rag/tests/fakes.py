"""Hand-written ports for tests of the use cases. The conformance suites hold them to the same promises as the real
ones."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from collections.abc import Collection as Container
from dataclasses import replace
from typing import TypeVar

from libs.errors.errors import Reason, ServiceError, UnavailableError
from services.rag.domain import failures
from services.rag.domain.documents import Collection, Document, Engine, Hit, Passage
from services.rag.domain.prompt import Turn
from services.rag.ports import (
    CurrentVersions,
    Embedded,
    Finish,
    Garbage,
    Generated,
    GenerationEnd,
    Ingested,
    PassageVector,
    Query,
    RequestKey,
    Scope,
)

T = TypeVar("T")

ENGINE = Engine("fake", "1")
DIMENSIONS = 64


def words_of(text: str) -> frozenset[int]:
    """The port Terms: each word in lower case."""
    return frozenset(zlib.crc32(word.encode()) for word in re.findall(r"\w+", text.lower()))


def vector_of(text: str) -> list[float]:
    """A unit vector that texts share as far as they share words."""
    values = [0.0] * DIMENSIONS
    for word in words_of(text):
        values[word % DIMENSIONS] += 1.0
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def unavailable(dependency: str) -> UnavailableError:
    """What an adapter raises when its dependency is down."""
    return UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "down", metadata={"dependency": dependency})


class FakeTokenizer:
    """Words and single other characters are tokens."""

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in re.finditer(r"\w+|[^\w\s]", text)] for text in texts]

    def count(self, text: str) -> int:
        return len(self.spans([text])[0])


class FakeEmbedder:
    """Vectors of words. `failure` is raised instead, if there is one. It does not answer before `go_on` is set."""

    def __init__(self) -> None:
        self.engine = ENGINE
        self.failure: ServiceError | None = None
        self.is_stamped = True
        self.calls: list[list[str]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        vectors = [vector_of(text) for text in texts]
        return Embedded(vectors, self.engine, sum(len(text.split()) for text in texts), self.is_stamped)


class FakeGenerator:
    """Writes `pieces`, then ends, fails, or waits for ever. Keeps what it was asked, and whether it was stopped."""

    def __init__(self, pieces: Sequence[str] = (), *, failure: ServiceError | None = None, hangs: bool = False) -> None:
        self.pieces = list(pieces)
        self.failure = failure
        self.hangs = hangs
        self.end = GenerationEnd(Finish.WHOLE, "fake-v1", "", True)
        self.turns: list[Sequence[Turn]] = []
        self.stopped = False

    async def stream(
        self, turns: Sequence[Turn], *, model: str, max_output_tokens: int
    ) -> AsyncGenerator[Generated, None]:
        self.turns.append(turns)
        try:
            for piece in self.pieces:
                yield Generated(text=piece)
            if self.hangs:
                await asyncio.Event().wait()
            yield Generated(input_tokens=10, output_tokens=len(self.pieces))
            if self.failure is not None:
                raise self.failure
            yield Generated(end=self.end)
        finally:
            self.stopped = True


class FakeIndex:
    """Passages in a list. `on_search`, where there is one, runs after a search has read and before it answers."""

    def __init__(self) -> None:
        self.points: dict[tuple[Engine, str, int], tuple[Scope, PassageVector]] = {}
        self.on_search: list[object] = []
        self.searches = 0
        self.failure: Exception | None = None

    async def add(self, scope: Scope, engine: Engine, passages: Sequence[PassageVector]) -> None:
        if self.failure is not None:
            raise self.failure
        for item in passages:
            self.points[(engine, item.passage.version_id, item.passage.position)] = (scope, item)

    async def search(
        self, scope: Scope, engine: Engine, query: Query, *, limit: int, without: Container[str] = ()
    ) -> list[Hit]:
        self.searches += 1
        wanted = words_of(query.text)
        hits = []
        for (used, version, _), (owner, item) in self.points.items():
            if owner != scope or used != engine or version in without:
                continue
            similarity = None
            if query.vector is not None:
                similarity = sum(a * b for a, b in zip(query.vector, item.vector, strict=True))
            overlap = len(wanted & words_of(item.words)) / len(wanted)
            if similarity or overlap:
                hits.append(Hit(item.passage, overlap + (similarity or 0.0), similarity))
        if self.on_search:
            await self.on_search.pop(0)()  # type: ignore[operator]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    async def remove(self, garbage: Garbage) -> None:
        self.points = {key: value for key, value in self.points.items() if not self._is_of(garbage, value)}

    async def count(self, garbage: Garbage) -> int:
        return sum(self._is_of(garbage, value) for value in self.points.values())

    @staticmethod
    def _is_of(garbage: Garbage, value: tuple[Scope, PassageVector]) -> bool:
        scope, item = value
        return scope == garbage.scope and garbage.version_id in ("", item.passage.version_id)


class FakeCatalogue:
    """Dictionaries. `now_s` is the clock of leases and graces: tests move it."""

    def __init__(
        self,
        *,
        max_collections: int = 1000,
        max_documents: int = 1000,
        ingest_lease_s: float = 120.0,
        sweep_grace_s: float = 0.0,
        sweep_lease_s: float = 60.0,
    ) -> None:
        self.now_s = 1000.0
        self._max_collections = max_collections
        self._max_documents = max_documents
        self._ingest_lease_s = ingest_lease_s
        self._sweep_grace_s = sweep_grace_s
        self._sweep_lease_s = sweep_lease_s
        self._collections: dict[tuple[str, str], Collection] = {}
        self._documents: dict[str, dict[str, Document]] = {}
        self._pending: dict[Garbage, float] = {}
        self._garbage: dict[Garbage, float] = {}
        self._answers: dict[tuple[str, str], tuple[str, object]] = {}
        self._generation = 0

    async def create_collection(self, tenant: str, name: str, description: str, request: RequestKey) -> Collection:
        first = self._first(tenant, request)
        if isinstance(first, Collection):
            return first
        if (tenant, name) in self._collections:
            raise failures.collection_exists(name)
        if len([owner for owner, _ in self._collections if owner == tenant]) >= self._max_collections:
            raise failures.too_many_collections(self._max_collections)
        uid = f"uid-{self._next_generation()}"
        collection = Collection(name, uid, description, self._generation, 0, self.now_s)
        self._collections[(tenant, name)] = collection
        self._documents[uid] = {}
        return self._keep(tenant, request, collection)

    async def collection(self, tenant: str, name: str) -> Collection:
        collection = self._collections.get((tenant, name))
        if collection is None:
            raise failures.no_collection(name)
        return replace(collection, document_count=len(self._documents[collection.uid]))

    async def collections(self, tenant: str, *, after: str, limit: int) -> list[Collection]:
        names = sorted(name for owner, name in self._collections if owner == tenant and name > after)
        return [await self.collection(tenant, name) for name in names[:limit]]

    async def delete_collection(self, tenant: str, name: str, request: RequestKey) -> int:
        first = self._first(tenant, request)
        if isinstance(first, int):
            return first
        collection = await self.collection(tenant, name)
        del self._collections[(tenant, name)]
        count = len(self._documents.pop(collection.uid))
        self._throw_away(Garbage(Scope(tenant, collection.uid)))
        return self._keep(tenant, request, count)

    async def document(self, tenant: str, name: str, document_id: str) -> Document:
        collection = await self.collection(tenant, name)
        document = self._documents[collection.uid].get(document_id)
        if document is None:
            raise failures.no_document(name, document_id)
        return document

    async def documents(self, tenant: str, name: str, *, after: str, limit: int) -> list[Document]:
        collection = await self.collection(tenant, name)
        documents = sorted(self._documents[collection.uid].items())
        return [document for document_id, document in documents if document_id > after][:limit]

    async def delete_document(self, tenant: str, name: str, document_id: str, request: RequestKey) -> None:
        if self._first(tenant, request) is not None:
            return
        document = await self.document(tenant, name, document_id)
        collection = self._collections[(tenant, name)]
        del self._documents[collection.uid][document_id]
        self._collections[(tenant, name)] = replace(collection, generation=self._next_generation())
        self._throw_away(Garbage(Scope(tenant, collection.uid), document.version_id))
        self._keep(tenant, request, "")

    async def current_versions(
        self, tenant: str, collection: Collection, document_ids: Sequence[str]
    ) -> CurrentVersions:
        now = await self.collection(tenant, collection.name)
        if now.uid != collection.uid:
            raise failures.no_collection(collection.name)
        documents = self._documents[now.uid]
        versions = {key: documents[key].version_id for key in document_ids if key in documents}
        return CurrentVersions(now.generation, versions)

    async def first_answer(self, tenant: str, request: RequestKey) -> Ingested | None:
        answer = self._first(tenant, request)
        return answer if isinstance(answer, Ingested) else None

    async def keep_answer(self, tenant: str, ingested: Ingested, request: RequestKey) -> Ingested:
        return await self.first_answer(tenant, request) or self._keep(tenant, request, ingested)

    async def begin_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        await self.current_versions(tenant, collection, ())
        documents = self._documents[collection.uid]
        if document_id not in documents and len(documents) >= self._max_documents:
            raise failures.too_many_documents(self._max_documents)
        self._pending[Garbage(Scope(tenant, collection.uid), version_id)] = self.now_s + self._ingest_lease_s

    async def renew_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        await self.current_versions(tenant, collection, ())
        version = Garbage(Scope(tenant, collection.uid), version_id)
        if self._pending.get(version, 0.0) <= self.now_s:
            raise failures.write_conflict(collection.name)
        self._pending[version] = self.now_s + self._ingest_lease_s

    async def abandon_version(self, tenant: str, collection: Collection, version_id: str) -> None:
        version = Garbage(Scope(tenant, collection.uid), version_id)
        if self._pending.pop(version, None) is not None:
            self._throw_away(version)

    async def make_current(
        self, tenant: str, collection: Collection, ingested: Ingested, replaces: str, request: RequestKey
    ) -> Ingested:
        first = self._first(tenant, request)
        if isinstance(first, Ingested):
            return first
        document = ingested.document
        current = await self.current_versions(tenant, collection, [document.document_id])
        version = Garbage(Scope(tenant, collection.uid), document.version_id)
        before = current.versions.get(document.document_id, "")
        if before != replaces or self._pending.get(version, 0.0) <= self.now_s:
            raise failures.write_conflict(collection.name)
        documents = self._documents[collection.uid]
        if not before and len(documents) >= self._max_documents:
            raise failures.too_many_documents(self._max_documents)
        del self._pending[version]
        documents[document.document_id] = document
        self._collections[(tenant, collection.name)] = replace(
            self._collections[(tenant, collection.name)], generation=self._next_generation(), engine=document.engine
        )
        if before:
            self._throw_away(Garbage(version.scope, before))
        return self._keep(tenant, request, ingested)

    async def claim_garbage(self, tenant: str, *, limit: int) -> list[Garbage]:
        for version in [key for key, expiry in self._pending.items() if expiry <= self.now_s]:
            del self._pending[version]
            self._throw_away(version)
        due = [key for key, time in self._garbage.items() if key.scope.tenant == tenant and time <= self.now_s][:limit]
        self._garbage.update(dict.fromkeys(due, self.now_s + self._sweep_lease_s))
        return due

    async def forget(self, garbage: Garbage) -> None:
        self._garbage.pop(garbage, None)

    async def tenants(self) -> AsyncIterator[str]:
        for tenant in sorted({key.scope.tenant for key in (*self._garbage, *self._pending)}):
            yield tenant

    def _next_generation(self) -> int:
        self._generation += 1
        return self._generation

    def _throw_away(self, garbage: Garbage) -> None:
        self._garbage[garbage] = self.now_s + self._sweep_grace_s

    def _first(self, tenant: str, request: RequestKey) -> object:
        if not request.request_id or (tenant, request.request_id) not in self._answers:
            return None
        fingerprint, answer = self._answers[(tenant, request.request_id)]
        if fingerprint != request.fingerprint:
            raise failures.request_id_reused(request.request_id)
        return answer

    def _keep(self, tenant: str, request: RequestKey, answer: T) -> T:
        if request.request_id:
            self._answers[(tenant, request.request_id)] = (request.fingerprint, answer)
        return answer


def passage(document_id: str, text: str, *, version_id: str = "v", position: int = 0, title: str = "") -> Passage:
    """A passage with this text."""
    return Passage(document_id, version_id, position, title or document_id, "", (), text, 0, len(text))
