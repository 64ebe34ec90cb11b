"""Serves CollectionService. What it does is what the catalogue does: there is no use case between them."""

from __future__ import annotations

from typing import Any

import grpc

from libs.rpc.call import current_call
from libs.rpc.paging import page_position, page_size_of, page_token
from services.rag.ports import Catalogue
from services.rag.rpc.convert import request_key, to_collection
from weft.rag.v1 import collection_service_pb2 as pb
from weft.rag.v1 import collection_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_LIST = "ListCollections"


class CollectionServicer(pb_grpc.CollectionServiceServicer):
    """Keeps the calling tenant's collections."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        collection = await self._catalogue.create_collection(
            current_call().tenant, request.collection, request.description, request_key(request, request.request_id)
        )
        return pb.CreateCollectionResponse(collection=to_collection(collection))

    async def GetCollection(self, request: pb.GetCollectionRequest, context: Context) -> pb.GetCollectionResponse:
        collection = await self._catalogue.collection(current_call().tenant, request.collection)
        return pb.GetCollectionResponse(collection=to_collection(collection))

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        tenant = current_call().tenant
        size = page_size_of(request.page_size)
        after = page_position(request.page_token, _LIST, (tenant,))
        found = await self._catalogue.collections(tenant, after=after, limit=size + 1)
        page = found[:size]
        more = page_token(page[-1].name, _LIST, (tenant,)) if len(found) > size else ""
        return pb.ListCollectionsResponse(collections=map(to_collection, page), next_page_token=more)

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        count = await self._catalogue.delete_collection(
            current_call().tenant, request.collection, request_key(request, request.request_id)
        )
        return pb.DeleteCollectionResponse(document_count=count)
