"""Python's FAQ, one passage one document, ingested through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import weft.client
from libs.testing.pyfaq import documents
from tests.conftest import RunningStack
from weft.rag.v1 import collection_service_pb2, document_pb2, document_service_pb2

COLLECTION = "pyfaq"
AT_ONCE = 8


@pytest.fixture(scope="session")
async def faq(stack: RunningStack) -> AsyncIterator[weft.client.Client]:
    """A client of the stack whose tenant has the FAQ as collection `pyfaq`."""
    async with weft.client.connect(stack.address, token=stack.token(tenant="quality")) as client:
        await client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=COLLECTION))
        slots = asyncio.Semaphore(AT_ONCE)

        async def ingest(document_id: str, text: str) -> None:
            async with slots:
                await client.documents.IngestDocument(
                    document_service_pb2.IngestDocumentRequest(
                        collection=COLLECTION,
                        document_id=document_id,
                        media_type=document_pb2.MEDIA_TYPE_PLAIN,
                        content=text.encode(),
                    )
                )

        async with asyncio.TaskGroup() as tasks:
            for document_id, text in documents().items():
                tasks.create_task(ingest(document_id, text))
        yield client
