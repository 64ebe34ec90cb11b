"""Serves SearchService."""

from __future__ import annotations

from typing import Any

import grpc

from libs.rpc.call import current_call, depends
from services.rag.app.search_passages import SearchPassages
from services.rag.rpc.convert import DEFAULT_TOP_K, stamps_of, to_degradation, to_passage
from weft.common.v1 import usage_pb2
from weft.rag.v1 import search_service_pb2 as pb
from weft.rag.v1 import search_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class SearchServicer(pb_grpc.SearchServiceServicer):
    """Searches in the calling tenant's collections."""

    def __init__(self, search: SearchPassages) -> None:
        self._search = search

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        found = await self._search(
            current_call().tenant, request.collection, request.query, request.top_k or DEFAULT_TOP_K
        )
        if found.may_be_kept:
            depends(stamps_of(request.collection, found.generation))
        return pb.SearchResponse(
            passages=map(to_passage, found.hits),
            degradation=to_degradation(found.lexical_only),
            generation=found.generation,
            usage=usage_pb2.Usage(input_tokens=found.input_tokens),
        )
