"""Servicers that do what a test says, and ways to call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from libs.errors.errors import ServiceError
from libs.rpc.channel import channel
from libs.rpc.executions import executing
from libs.rpc.server import Component
from libs.rpc.status import service_error_of
from libs.testing.serving import KeptAccounts, Served, calling, raw_unary, serving
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import answer_service_pb2_grpc, search_service_pb2_grpc
from weft.rag.v1 import search_service_pb2 as search

ANSWER = "/weft.rag.v1.AnswerService/Answer"
EMBED = "/weft.embedding.v1.EmbeddingService/Embed"
READ = "/weft.rag.v1.CollectionService/GetCollection"
TEN_BYTES = b"0123456789"
QUERY = search.SearchRequest(collection="guides", query="how")
QUESTION = answers.StreamAnswerRequest(question=answers.Question(collection="guides", text="how"))
SEARCH = "/weft.rag.v1.SearchService/Search"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"

Work = Callable[[bytes, Any], Awaitable[bytes]]


class Search(search_service_pb2_grpc.SearchServiceServicer):
    """Does what the test says."""

    def __init__(self, behaviour: Callable[[], Any]) -> None:
        self.behaviour = behaviour

    async def Search(self, request: search.SearchRequest, context: Any) -> search.SearchResponse:
        result = await self.behaviour()
        return result if isinstance(result, search.SearchResponse) else search.SearchResponse()


class Answers(answer_service_pb2_grpc.AnswerServiceServicer):
    """Streams what the test says; `Answer` is left as generated."""

    def __init__(self, behaviour: Callable[[], AsyncIterator[int]]) -> None:
        self.behaviour = behaviour

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[answers.StreamAnswerResponse]:
        async for number in self.behaviour():
            yield answers.StreamAnswerResponse(sequence=number)


def searching(behaviour: Callable[[], Any], **more: Any) -> Component:
    return Component([(search_service_pb2_grpc.add_SearchServiceServicer_to_server, Search(behaviour))], **more)


def answering(behaviour: Callable[[], AsyncIterator[int]]) -> Component:
    return Component([(answer_service_pb2_grpc.add_AnswerServiceServicer_to_server, Answers(behaviour))])  # type: ignore[abstract]


async def nothing() -> None:
    """Succeeds at once."""


def raising(error: BaseException) -> Any:
    async def fail() -> Any:
        raise error

    return fail


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """How `call` fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def refusal(component: Component, request: search.SearchRequest = QUERY) -> tuple[grpc.StatusCode, ServiceError]:
    """How a search of `component` is refused: the code, and the error in the details."""
    async with serving(component) as served, calling(served) as channel:
        error = await failure(search_service_pb2_grpc.SearchServiceStub(channel).Search(request))
        told = service_error_of(error)
        assert told is not None, "no ErrorInfo"
        assert told.message == error.details()
        return error.code(), told


async def raw(served: Served, path: str, body: bytes = b"", metadata: Any = (), timeout: float = 10) -> bytes:
    """One call with nothing added to it."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        return bytes(await raw_unary(channel, path)(body, metadata=metadata, timeout=timeout))


async def no_numbers() -> AsyncIterator[int]:
    return
    yield 0


async def embed_five(body: bytes, context: Any) -> bytes:
    """Uses five tokens; answers what it was lent."""
    async with executing("embed") as execution:
        execution.used(input_tokens=5, output_tokens=0)
        return str(execution.allowance_tokens).encode()


@asynccontextmanager
async def two_services(
    inner: Work, outer: Callable[[grpc.aio.Channel], Work], *, reached: bool = True, **context: Any
) -> AsyncIterator[tuple[Any, KeptAccounts]]:
    """A call of the outer one, whose work may call the inner one; and what both told the ledger."""
    accounts = KeptAccounts(reached=reached)
    async with (
        serving(Component(passthrough={EMBED: inner, INFER: inner}, accounts=accounts)) as behind,
        channel(behind.address) as inwards,
        serving(Component(passthrough={ANSWER: outer(inwards), READ: outer(inwards)}, accounts=accounts)) as front,
        calling(front, **context) as caller,
    ):
        yield caller, accounts
