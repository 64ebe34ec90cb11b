"""When a call's body is read: after the call is admitted, and within its deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from libs.errors.errors import Reason, ServiceError
from libs.rpc.status import service_error_of
from libs.rpc.tests.lab import SEARCH, answering, failure, no_numbers, nothing, searching
from libs.testing.serving import calling, serving

STREAM_ANSWER = "/weft.rag.v1.AnswerService/StreamAnswer"


async def told(call: Any) -> ServiceError:
    """The error that a Weft service ended `call` with."""
    error = service_error_of(await failure(call))
    assert error is not None
    return error


async def none() -> AsyncIterator[bytes]:
    """No message at all."""
    return
    yield b""


async def test_a_refused_call_need_not_send_its_body() -> None:
    """Who may not call is told so before a body has come: the server keeps nothing of it."""
    async with serving(searching(nothing)) as served, grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.stream_unary(SEARCH)(timeout=30)
        assert (await told(call)).reason is Reason.CONTEXT_REFUSED


async def test_a_refused_stream_need_not_send_its_body() -> None:
    """The same of a method whose answer is a stream."""
    async with serving(answering(no_numbers)) as served, grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.stream_stream(STREAM_ANSWER)(timeout=30)
        error = await failure(call.read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_body_that_never_comes_has_a_deadline() -> None:
    """A caller that sends headers alone is cut at its context's deadline."""
    async with serving(searching(nothing)) as served, calling(served, timeout_s=0.3) as channel:
        call: Any = channel.stream_unary(SEARCH)(None, timeout=30)
        assert (await failure(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_body() -> None:
    """A call that ends without its message is refused by the name of the message."""
    async with serving(searching(nothing)) as served, calling(served) as channel:
        search: Any = channel.stream_unary(SEARCH)
        error = await told(search(none()))
        assert (error.reason, error.metadata) == (Reason.MESSAGE_MALFORMED, {"message": "weft.rag.v1.SearchRequest"})
