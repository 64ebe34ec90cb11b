"""Makes content searchable, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from libs.errors.errors import AbortedError, NotFoundError, ServiceError, UnavailableError
from services.rag.domain import failures
from services.rag.domain.chunking import Chunk, chunk
from services.rag.domain.documents import Collection, Content, Document, Engine, IngestOutcome, Passage
from services.rag.domain.parsed_text import ParsedText
from services.rag.ports import (
    Catalogue,
    DocumentParser,
    Embedder,
    Ingested,
    PassageIndex,
    PassageVector,
    RequestKey,
    Scope,
    Tokenizer,
)

_PROBE = "?"
"""Any text: only what embeds it is wanted."""


@dataclass(frozen=True)
class IngestLimits:
    """How a document is cut, and how much of it is under way at a time."""

    passage_tokens: int = 220
    max_passages: int = 10_000
    batch_passages: int = 64
    parallel: int = 4


@dataclass(frozen=True)
class _Draft:
    """A version on its way to becoming current."""

    collection: Collection
    document_id: str
    version_id: str
    content: Content
    title: str
    parsed: ParsedText
    chunks: Sequence[Chunk]


class IngestDocument:
    """Writes a document's passages under a version id of their own, then makes that version current in one step.

    The version is registered before anything is written: should this process die, what it wrote is swept, and nobody
    has ever seen it. The same content, title, source and media type again changes nothing, unless another engine
    embeds now.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        index: PassageIndex,
        embedder: Embedder,
        parse: DocumentParser,
        tokenizer: Tokenizer,
        limits: IngestLimits,
        *,
        new_id: Callable[[], str],
        now_s: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._index = index
        self._embedder = embedder
        self._parse = parse
        self._tokenizer = tokenizer
        self._limits = limits
        self._new_id = new_id
        self._now_s = now_s
        self._room = asyncio.Semaphore(limits.parallel)

    async def __call__(
        self, tenant: str, collection: str, document_id: str, content: Content, request: RequestKey
    ) -> Ingested:
        """What became of the content. Raises as the ports do, and InvalidArgumentError for content that cannot be
        taken."""
        first = await self._catalogue.first_answer(tenant, request)
        if first is not None:
            return first
        known = await self._catalogue.collection(tenant, collection)
        content_hash = content.content_hash()
        before = await self._current(tenant, collection, document_id)
        if before is not None and await self._is_same(before, content, content_hash):
            return await self._unchanged(tenant, before, request)
        async with self._room:
            draft = await asyncio.to_thread(self._draft, known, document_id, content)
            try:
                return await self._write(tenant, draft, content_hash, before, request)
            except AbortedError:
                after = await self._current(tenant, collection, document_id)
                if after is not None and await self._is_same(after, content, content_hash):
                    return await self._unchanged(tenant, after, request)
                raise

    async def _unchanged(self, tenant: str, document: Document, request: RequestKey) -> Ingested:
        """Kept for the request id too: sent once more after another's write, the request must not undo that."""
        return await self._catalogue.keep_answer(tenant, Ingested(document, IngestOutcome.UNCHANGED, 0), request)

    async def _current(self, tenant: str, collection: str, document_id: str) -> Document | None:
        try:
            return await self._catalogue.document(tenant, collection, document_id)
        except NotFoundError as error:
            if error.metadata.get("document_id") is None:
                raise
            return None

    async def _is_same(self, document: Document, content: Content, content_hash: str) -> bool:
        """Whether an ingest would change nothing. What embeds now is asked: it may be another engine than a moment ago.
        Where none does, the document is as good as it can be."""
        if not document.holds(content, content_hash):
            return False
        try:
            return (await self._embedder.embed([_PROBE])).engine == document.engine
        except UnavailableError:
            return True

    def _draft(self, collection: Collection, document_id: str, content: Content) -> _Draft:
        """Reads and cuts the content; takes a second for 2 MiB, so not to be run in the event loop."""
        parsed = self._parse(content.data, content.media_type)
        chunks = chunk(parsed, self._tokenizer.spans, max_tokens=self._limits.passage_tokens)
        if not chunks:
            raise failures.unreadable(content.media_type.value, "has no text that the embedding model can read")
        if len(chunks) > self._limits.max_passages:
            raise failures.too_many_passages(len(chunks), self._limits.max_passages)
        title = content.title or parsed.first_heading or document_id
        return _Draft(collection, document_id, self._new_id(), content, title, parsed, chunks)

    async def _write(
        self, tenant: str, draft: _Draft, content_hash: str, before: Document | None, request: RequestKey
    ) -> Ingested:
        await self._catalogue.begin_version(tenant, draft.collection, draft.document_id, draft.version_id)
        try:
            engine, input_tokens = await self._write_passages(tenant, draft)
            document = self._document(draft, content_hash, engine, before)
            outcome = IngestOutcome.CREATED if before is None else IngestOutcome.REPLACED
            ingested = Ingested(document, outcome, input_tokens)
            replaces = before.version_id if before is not None else ""
            answer = await self._catalogue.make_current(tenant, draft.collection, ingested, replaces, request)
        except BaseException:
            await asyncio.shield(self._abandon(tenant, draft))
            raise
        if answer.document.version_id != draft.version_id:
            await self._abandon(tenant, draft)
        return answer

    async def _write_passages(self, tenant: str, draft: _Draft) -> tuple[Engine, int]:
        """Embeds and stores all passages; what embedded them, and the tokens that it read."""
        scope = Scope(tenant, draft.collection.uid)
        engine: Engine | None = None
        input_tokens = 0
        for batch in _batches(self._passages(draft), self._limits.batch_passages):
            words = [passage.embedded_text for passage in batch]
            embedded = await self._embedder.embed(words)
            if engine not in (None, embedded.engine):
                raise failures.write_conflict(draft.collection.name)
            engine = embedded.engine
            input_tokens += embedded.input_tokens
            await self._catalogue.renew_version(tenant, draft.collection, draft.document_id, draft.version_id)
            vectors = [
                PassageVector(passage, vector, text)
                for passage, vector, text in zip(batch, embedded.vectors, words, strict=True)
            ]
            await self._index.add(scope, engine, vectors)
        assert engine is not None
        return engine, input_tokens

    def _passages(self, draft: _Draft) -> Iterator[Passage]:
        for position, piece in enumerate(draft.chunks):
            yield Passage(
                document_id=draft.document_id,
                version_id=draft.version_id,
                position=position,
                title=draft.title,
                source_uri=draft.content.source_uri,
                headings=piece.headings,
                text=draft.parsed.text[piece.start : piece.end],
                start=piece.start,
                end=piece.end,
            )

    def _document(self, draft: _Draft, content_hash: str, engine: Engine, before: Document | None) -> Document:
        now_s = self._now_s()
        content = draft.content
        return Document(
            document_id=draft.document_id,
            title=draft.title,
            source_uri=content.source_uri,
            media_type=content.media_type,
            content_hash=content_hash,
            version_id=draft.version_id,
            size_bytes=len(content.data),
            passage_count=len(draft.chunks),
            create_time_s=before.create_time_s if before is not None else now_s,
            update_time_s=now_s,
            given_title=content.title,
            engine=engine,
        )

    async def _abandon(self, tenant: str, draft: _Draft) -> None:
        """What was written is swept soon; where this fails, it is swept when its promise runs out."""
        try:
            await self._catalogue.abandon_version(tenant, draft.collection, draft.version_id)
        except ServiceError:
            return


def _batches(items: Iterator[Passage], size: int) -> Iterator[list[Passage]]:
    batch: list[Passage] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
