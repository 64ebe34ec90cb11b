"""A folder of documents, and what of them is in a collection."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from pathlib import Path

from qdrant_client import AsyncQdrantClient, models

import weft.client
from weft.rag.v1 import document_pb2, document_service_pb2

SUFFIXES = (".md", ".txt", ".html")
SECTIONS = 3
SENTENCES = 4


def write_corpus(folder: Path, count: int) -> None:
    """So many files of several passages each, a third of each kind, no two alike."""
    folder.mkdir()
    for at in range(count):
        suffix = SUFFIXES[at % len(SUFFIXES)]
        (folder / f"report-{at:03}{suffix}").write_text(_content(suffix, f"Report {at}", at))


def write_long_document(file: Path) -> None:
    """One that takes many batches to embed and to store: half of it can be seen, also by who looks seldom."""
    sections = (f"## Entry {at}\n\nThe clerk of entry {at} wrote down {at * 17} crates.\n" for at in range(900))
    file.write_text("# Ledger\n\n" + "\n".join(sections))


def _content(suffix: str, title: str, seed: int) -> str:
    sections = [
        " ".join(
            f"In district {seed} the station {section}-{at} counted {seed * 31 + section * 7 + at} boats that morning."
            for at in range(SENTENCES)
        )
        for section in range(SECTIONS)
    ]
    if suffix == ".md":
        return f"# {title}\n\n" + "\n\n".join(f"## Part {at}\n\n{text}" for at, text in enumerate(sections)) + "\n"
    if suffix == ".html":
        body = "".join(f"<h2>Part {at}</h2><p>{html.escape(text)}</p>" for at, text in enumerate(sections))
        return f"<html><body><h1>{title}</h1>{body}</body></html>\n"
    return "\n\n".join(sections) + "\n"


async def documents(client: weft.client.Client, collection: str) -> list[document_pb2.Document]:
    """What is current, by id; nothing where there is no such collection."""
    try:
        page = await client.documents.ListDocuments(
            document_service_pb2.ListDocumentsRequest(collection=collection, page_size=1000)
        )
    except weft.client.CallError as error:
        if error.reason == "COLLECTION_NOT_FOUND":
            return []
        raise
    assert not page.next_page_token
    return list(page.documents)


def essence(found: Sequence[document_pb2.Document]) -> list[tuple[str, str, int, str, str]]:
    """All of the documents that does not differ from one ingest to the next."""
    return [
        (document.document_id, document.content_hash, document.passage_count, document.title, document.source_uri)
        for document in found
    ]


async def stored_passages(address: str, api_key: str, tenant: str) -> int:
    """The tenant's points in Qdrant, garbage included, as Qdrant itself counts them."""
    host, port = address.split(":")
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    client = AsyncQdrantClient(
        host=host,
        grpc_port=int(port),
        prefer_grpc=True,
        https=False,
        api_key=api_key,
        check_compatibility=False,
    )
    of_tenant = models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value=tenant))])
    try:
        names = [collection.name for collection in (await client.get_collections()).collections]
        return sum([(await client.count(name, of_tenant, exact=True)).count for name in names])
    finally:
        await client.close()
