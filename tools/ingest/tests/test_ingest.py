"""Which files an ingest sends, to a service that speaks rag's contracts."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import weft.client
from libs.errors.errors import AlreadyExistsError, InvalidArgumentError, Reason
from libs.rpc.server import Component
from libs.testing.serving import Everybody, serving
from tools.ingest.ingest import Outcome, ingest
from tools.ingest.sources import Source
from weft.rag.v1 import collection_service_pb2_grpc, document_pb2, document_service_pb2_grpc
from weft.rag.v1 import document_service_pb2 as pb


class Collections(collection_service_pb2_grpc.CollectionServiceServicer):
    """Has the collection already."""

    async def CreateCollection(self, request: Any, context: Any) -> Any:
        raise AlreadyExistsError(Reason.COLLECTION_EXISTS, "there is one")


class Documents(document_service_pb2_grpc.DocumentServiceServicer):
    """Holds `current`, a page a document; refuses content that says `bad`."""

    def __init__(self, current: dict[str, bytes]) -> None:
        self.current = current
        self.sent: list[str] = []

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Any) -> pb.ListDocumentsResponse:
        names = sorted(self.current)
        at = int(request.page_token or 0)
        document = document_pb2.Document(
            document_id=names[at], content_hash=hashlib.sha256(self.current[names[at]]).hexdigest()
        )
        more = str(at + 1) if at + 1 < len(names) else ""
        return pb.ListDocumentsResponse(documents=[document], next_page_token=more)

    async def IngestDocument(self, request: pb.IngestDocumentRequest, context: Any) -> pb.IngestDocumentResponse:
        self.sent.append(request.document_id)
        if request.content == b"bad":
            raise InvalidArgumentError(Reason.DOCUMENT_UNREADABLE, "cannot be read")
        outcome = pb.INGEST_OUTCOME_REPLACED if request.document_id in self.current else pb.INGEST_OUTCOME_CREATED
        return pb.IngestDocumentResponse(outcome=outcome)


@pytest.fixture
def documents() -> Documents:
    """Two documents are current."""
    return Documents({"changed": b"old", "same": b"same"})  # type: ignore[abstract]


@pytest.fixture
async def client(documents: Documents) -> AsyncIterator[weft.client.Client]:
    """A client of the two services."""
    servicers: list[tuple[Callable[[Any, Any], None], object]] = [
        (collection_service_pb2_grpc.add_CollectionServiceServicer_to_server, Collections()),  # type: ignore[abstract]
        (document_service_pb2_grpc.add_DocumentServiceServicer_to_server, documents),
    ]
    async with (
        serving(Component(servicers, guard=Everybody())) as served,
        weft.client.connect(served.address, token="any") as connected,
    ):
        yield connected


def files(folder: Path) -> list[Source]:
    """A file of each kind of luck."""
    contents = {"changed": b"new", "fresh": b"fresh", "same": b"same", "wrong": b"bad"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [Source(folder / name, name, "plain") for name in (*contents, "gone")]


async def test_only_what_has_changed_is_sent(client: weft.client.Client, documents: Documents, tmp_path: Path) -> None:
    """What is current is not sent, a bad file and a vanished one stop nothing, and each file's outcome is told."""
    told: list[Outcome] = []
    await ingest(client, "guides", files(tmp_path), told.append)

    assert {outcome.source.document_id: outcome.result for outcome in told} == {
        "changed": "replaced",
        "fresh": "created",
        "same": "unchanged",
        "wrong": "failed",
        "gone": "failed",
    }
    assert sorted(documents.sent) == ["changed", "fresh", "wrong"]


async def test_all_is_sent_where_that_is_asked(
    client: weft.client.Client, documents: Documents, tmp_path: Path
) -> None:
    """With `send_all` the service decides what has changed."""
    await ingest(client, "guides", files(tmp_path), lambda outcome: None, send_all=True)
    assert sorted(documents.sent) == ["changed", "fresh", "same", "wrong"]
