"""Brings files into a collection: what has not changed is left alone, and one bad file does not stop the others."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import grpc

import weft.client
from tools.ingest.sources import Source
from weft.rag.v1 import collection_service_pb2, document_pb2, document_service_pb2

CONCURRENT = 4
"""Files under way at once: enough to keep the embedding model busy, few enough to leave room for others."""

TIMEOUT_S = 600.0
"""For one file, the most that the contract allows: four large ones keep two busy cores for minutes."""

Result = Literal["created", "replaced", "unchanged", "failed"]

_MEDIA_TYPES = {
    "plain": document_pb2.MEDIA_TYPE_PLAIN,
    "markdown": document_pb2.MEDIA_TYPE_MARKDOWN,
    "html": document_pb2.MEDIA_TYPE_HTML,
}
_RESULTS: Mapping[int, Result] = {
    document_service_pb2.INGEST_OUTCOME_CREATED: "created",
    document_service_pb2.INGEST_OUTCOME_REPLACED: "replaced",
    document_service_pb2.INGEST_OUTCOME_UNCHANGED: "unchanged",
}
# What is wrong with one document's content or with a race for it; anything else would fail for every file.
_OF_ONE_FILE = frozenset(
    {"FIELD_INVALID", "DOCUMENT_UNREADABLE", "WRITE_CONFLICT", "MESSAGE_TOO_LARGE", "DEADLINE_EXCEEDED", "INTERNAL"}
)


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `why` is told where it failed."""

    source: Source
    result: Result
    why: str = ""


async def ingest(
    client: weft.client.Client,
    collection: str,
    sources: Iterable[Source],
    tell: Callable[[Outcome], None],
    *,
    send_all: bool = False,
) -> None:
    """Makes `sources` documents of `collection`, which is made if it is not there, and tells of each as it is done.

    A file whose content is current already is not sent, unless `send_all`: the service knows better, as when another
    model embeds now. Safe to repeat and to kill: each document is atomic, and the
    next run does what is missing. Raises CallError where it is not about one file (no token, no gateway, a quota).
    """
    await _make_collection(client, collection)
    current = {} if send_all else await _current_hashes(client, collection)
    remaining = iter(sources)
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(CONCURRENT):
                workers.create_task(_work(client, collection, remaining, current, tell))
    except* weft.client.CallError as group:
        raise group.exceptions[0] from None


async def _work(
    client: weft.client.Client,
    collection: str,
    remaining: Iterator[Source],
    current: Mapping[str, str],
    tell: Callable[[Outcome], None],
) -> None:
    for source in remaining:
        tell(await _ingest_one(client, collection, source, current))


async def _ingest_one(
    client: weft.client.Client, collection: str, source: Source, current: Mapping[str, str]
) -> Outcome:
    try:
        content = source.path.read_bytes()
    except OSError as error:
        return Outcome(source, "failed", f"cannot be read: {error.strerror}")
    if hashlib.sha256(content).hexdigest() == current.get(source.document_id):
        return Outcome(source, "unchanged")
    request = document_service_pb2.IngestDocumentRequest(
        collection=collection,
        document_id=source.document_id,
        media_type=_MEDIA_TYPES[source.kind],
        content=content,
        title=source.path.name if source.kind == "plain" else "",
        source_uri=str(source.path),
    )
    try:
        response = await client.documents.IngestDocument(request, timeout=TIMEOUT_S)
    except weft.client.CallError as error:
        if error.reason not in _OF_ONE_FILE:
            raise
        return Outcome(source, "failed", error.message)
    return Outcome(source, _RESULTS[response.outcome])


async def _make_collection(client: weft.client.Client, collection: str) -> None:
    try:
        await client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=collection))
    except weft.client.CallError as error:
        if error.code is not grpc.StatusCode.ALREADY_EXISTS:
            raise


async def _current_hashes(client: weft.client.Client, collection: str) -> dict[str, str]:
    """The content hash of every document of the collection, by id."""
    hashes: dict[str, str] = {}
    request = document_service_pb2.ListDocumentsRequest(collection=collection, page_size=1000)
    while True:
        page = await client.documents.ListDocuments(request)
        hashes.update((document.document_id, document.content_hash) for document in page.documents)
        if not page.next_page_token:
            return hashes
        request.page_token = page.next_page_token
