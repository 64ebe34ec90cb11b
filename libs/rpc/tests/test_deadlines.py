"""How long a call may take, and what ends it before it is done."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.errors.errors import Reason
from libs.rpc.call import remaining_s
from libs.rpc.status import service_error_of
from libs.rpc.tests.lab import QUERY, SEARCH, failure, nothing, raising, raw, refusal, searching
from libs.testing.serving import KEY, calling, raw_unary, serving
from weft.rag.v1 import search_service_pb2_grpc


async def test_the_contexts_deadline_ends_the_call() -> None:
    """A call with time left of its own ends at its context's deadline, as DEADLINE_EXCEEDED with a reason."""
    ended = asyncio.Event()

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(searching(stay)) as served:
        context = CallContext("acme", "alice", "c", "r", "normal", time.time() + 0.2)
        error = await failure(
            raw(served, SEARCH, QUERY.SerializeToString(), ((headers.CONTEXT, seal(context, KEY)),), timeout=30)
        )
        told = service_error_of(error)
        assert (error.code(), told and told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
        assert ended.is_set()


@pytest.mark.parametrize(("timeout_s", "most_s"), [(5000, 120), (None, 30), (7, 7)])
async def test_a_deadline_is_the_contracts_at_most(timeout_s: float | None, most_s: float) -> None:
    """A call that asks for more time than its method may take gets the most; one that does not say, the default."""
    left: list[float] = []

    async def look() -> None:
        left.append(remaining_s())

    context = CallContext("acme", "alice", "c", "r", "normal", time.time() + 3000)
    async with serving(searching(look)) as served, grpc.aio.insecure_channel(served.address) as channel:
        sent = ((headers.CONTEXT, seal(context, KEY)),)
        await raw_unary(channel, SEARCH)(QUERY.SerializeToString(), metadata=sent, timeout=timeout_s)
    assert most_s - 5 < left[0] < most_s + 1


async def test_a_context_for_longer_than_any_call_is_refused() -> None:
    """No method may take so long: whoever made it is not the gateway as it is."""
    context = CallContext("acme", "alice", "c", "r", "normal", time.time() + 4000)
    async with serving(searching(nothing)) as served, grpc.aio.insecure_channel(served.address) as channel:
        sent = ((headers.CONTEXT, seal(context, KEY)),)
        error = await failure(raw_unary(channel, SEARCH)(QUERY.SerializeToString(), metadata=sent))
    told = service_error_of(error)
    assert told is not None and told.reason is Reason.CONTEXT_REFUSED


async def test_a_timeout_inside_is_not_the_calls_deadline() -> None:
    """A TimeoutError of the handler's own is an internal error while the call has time left."""
    code, told = await refusal(searching(raising(TimeoutError("inner"))))
    assert (code, told.reason) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL)


async def test_a_cancel_reaches_the_handler() -> None:
    """When the caller cancels, the handler's task is cancelled."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise

    async with serving(searching(stay)) as served, calling(served) as channel:
        call = search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY)
        await begun.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)
