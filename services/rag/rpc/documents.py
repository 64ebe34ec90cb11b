"""Serves DocumentService."""

from __future__ import annotations

from typing import Any

import grpc

from libs.rpc.call import current_call
from libs.rpc.paging import page_position, page_size_of, page_token
from services.rag.app.ingest_document import IngestDocument
from services.rag.ports import Catalogue
from services.rag.rpc.convert import content_of, request_key, to_document, to_ingest_response
from weft.rag.v1 import document_service_pb2 as pb
from weft.rag.v1 import document_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_LIST = "ListDocuments"
_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000


class DocumentServicer(pb_grpc.DocumentServiceServicer):
    """Keeps the documents of the calling tenant's collections."""

    def __init__(self, catalogue: Catalogue, ingest: IngestDocument) -> None:
        self._catalogue = catalogue
        self._ingest = ingest

    async def IngestDocument(self, request: pb.IngestDocumentRequest, context: Context) -> pb.IngestDocumentResponse:
        ingested = await self._ingest(
            current_call().tenant,
            request.collection,
            request.document_id,
            content_of(request),
            request_key(request, request.request_id),
        )
        return to_ingest_response(ingested, request.collection)

    async def GetDocument(self, request: pb.GetDocumentRequest, context: Context) -> pb.GetDocumentResponse:
        document = await self._catalogue.document(current_call().tenant, request.collection, request.document_id)
        return pb.GetDocumentResponse(document=to_document(document, request.collection))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Context) -> pb.ListDocumentsResponse:
        tenant = current_call().tenant
        filters = (tenant, request.collection)
        size = page_size_of(request.page_size, _PAGE_SIZE, _MAX_PAGE_SIZE)
        after = page_position(request.page_token, _LIST, filters)
        found = await self._catalogue.documents(tenant, request.collection, after=after, limit=size + 1)
        page = found[:size]
        more = page_token(page[-1].document_id, _LIST, filters) if len(found) > size else ""
        documents = [to_document(document, request.collection) for document in page]
        return pb.ListDocumentsResponse(documents=documents, next_page_token=more)

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, context: Context) -> pb.DeleteDocumentResponse:
        await self._catalogue.delete_document(
            current_call().tenant,
            request.collection,
            request.document_id,
            request_key(request, request.request_id),
        )
        return pb.DeleteDocumentResponse()
