"""What belongs to one tenant is, for another one, not there: the answers to both are the same, letter by letter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from google.protobuf.message import Message

import weft.client
from tests.conftest import RunningStack
from weft.rag.v1 import (
    answer_service_pb2,
    collection_service_pb2,
    document_pb2,
    document_service_pb2,
    search_service_pb2,
)

THEIRS, MISSING, DOCUMENT = "secrets", "nothing", "plan"
Call = Callable[[weft.client.Client, str], Awaitable[Message]]


async def _stream(client: weft.client.Client, collection: str) -> Message:
    question = answer_service_pb2.Question(collection=collection, text="What is the plan?")
    async for message in client.answers.StreamAnswer(answer_service_pb2.StreamAnswerRequest(question=question)):
        last = message
    return last


CALLS: dict[str, Call] = {
    "GetCollection": lambda client, name: client.collections.GetCollection(
        collection_service_pb2.GetCollectionRequest(collection=name)
    ),
    "DeleteCollection": lambda client, name: client.collections.DeleteCollection(
        collection_service_pb2.DeleteCollectionRequest(collection=name)
    ),
    "GetDocument": lambda client, name: client.documents.GetDocument(
        document_service_pb2.GetDocumentRequest(collection=name, document_id=DOCUMENT)
    ),
    "ListDocuments": lambda client, name: client.documents.ListDocuments(
        document_service_pb2.ListDocumentsRequest(collection=name)
    ),
    "DeleteDocument": lambda client, name: client.documents.DeleteDocument(
        document_service_pb2.DeleteDocumentRequest(collection=name, document_id=DOCUMENT)
    ),
    "IngestDocument": lambda client, name: client.documents.IngestDocument(ingest_request(name)),
    "Search": lambda client, name: client.search.Search(
        search_service_pb2.SearchRequest(collection=name, query="What is the plan?")
    ),
    "Answer": lambda client, name: client.answers.Answer(
        answer_service_pb2.AnswerRequest(
            question=answer_service_pb2.Question(collection=name, text="What is the plan?")
        )
    ),
    "StreamAnswer": _stream,
}


def ingest_request(collection: str) -> document_service_pb2.IngestDocumentRequest:
    """A document that answers what the plan is."""
    return document_service_pb2.IngestDocumentRequest(
        collection=collection,
        document_id=DOCUMENT,
        media_type=document_pb2.MEDIA_TYPE_PLAIN,
        content=b"The plan is to open a bakery on the moon in spring.",
    )


@pytest.fixture(scope="module")
async def owner(stack: RunningStack) -> AsyncIterator[weft.client.Client]:
    """The tenant that has a collection with a document."""
    async with weft.client.connect(stack.address, token=stack.token(tenant="owner")) as client:
        await client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=THEIRS))
        await client.documents.IngestDocument(ingest_request(THEIRS))
        yield client


@pytest.fixture(scope="module")
async def stranger(stack: RunningStack) -> AsyncIterator[weft.client.Client]:
    """Another tenant, with all scopes."""
    async with weft.client.connect(stack.address, token=stack.token(tenant="stranger")) as client:
        yield client


@pytest.mark.parametrize("name", CALLS)
async def test_a_foreign_collection_is_a_missing_one(
    owner: weft.client.Client, stranger: weft.client.Client, name: str
) -> None:
    """Each method tells a stranger of an existing collection exactly what it tells of one that nobody has."""
    told = []
    for collection in (THEIRS, MISSING):
        with pytest.raises(weft.client.CallError) as raised:
            await CALLS[name](stranger, collection)
        error = raised.value
        told.append((error.code, error.reason, error.message.replace(collection, "X"), sorted(error.metadata)))

    assert told[0] == told[1]
    assert told[0][1] == "COLLECTION_NOT_FOUND"
    found = await owner.search.Search(search_service_pb2.SearchRequest(collection=THEIRS, query="What is the plan?"))
    assert [passage.document_id for passage in found.passages] == [DOCUMENT]


async def test_the_same_name_is_another_collection(owner: weft.client.Client, stranger: weft.client.Client) -> None:
    """A tenant that makes a collection of a name that another has finds nothing of the other's in it."""
    await stranger.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=THEIRS))
    try:
        found = await stranger.search.Search(
            search_service_pb2.SearchRequest(collection=THEIRS, query="What is the plan?", top_k=100)
        )
        assert list(found.passages) == []
    finally:
        await stranger.collections.DeleteCollection(collection_service_pb2.DeleteCollectionRequest(collection=THEIRS))
    kept = await owner.documents.GetDocument(
        document_service_pb2.GetDocumentRequest(collection=THEIRS, document_id=DOCUMENT)
    )
    assert kept.document.document_id == DOCUMENT
