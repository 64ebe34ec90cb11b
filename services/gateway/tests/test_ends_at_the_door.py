"""Ends of calls at the door: callers that leave, deadlines, and services that are not there or are lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest

from libs.rpc.server import Component, running
from libs.testing.eventually import eventually
from libs.testing.serving import KEY, serving
from services.gateway.tests.calls import embed, generate
from services.gateway.tests.world import Embedding, Gateway, Generation, KeyFiles, Seen, failure_of, open_gateway
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc


async def test_a_caller_that_leaves_a_unary_call_ends_it(gateway: Gateway) -> None:
    """The service's work is cancelled when the caller cancels."""
    call = embed(gateway, "hang")
    await eventually(lambda: gateway.seen.contexts)
    assert gateway.seen.ended == 0
    call.cancel()
    await eventually(lambda: gateway.seen.ended == 1)


async def test_a_caller_that_leaves_a_stream_ends_it(gateway: Gateway) -> None:
    """Between two messages too, the service's work is cancelled when the caller cancels."""
    call = generate(gateway, "hang")
    await call.read()
    assert gateway.seen.ended == 0
    call.cancel()
    await eventually(lambda: gateway.seen.ended == 1)


async def test_a_caller_that_vanishes_ends_its_calls(gateway: Gateway) -> None:
    """A connection that is gone is as good as a cancel."""
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        lost = replace(gateway, channel=channel)
        stream = generate(lost, "hang")
        await stream.read()
    await eventually(lambda: gateway.seen.ended == 1)


async def test_a_slow_reader_slows_the_service(gateway: Gateway) -> None:
    """A service stops producing while the caller does not read, once the windows of two hops are full."""
    call = generate(gateway, "flood")
    await call.read()
    await _settled(gateway.seen, most=(128 << 20) // 65536)
    assert gateway.seen.ended == 0
    call.cancel()
    await eventually(lambda: gateway.seen.ended == 1)


async def _settled(seen: Seen, most: int) -> None:
    """Returns once ten looks in a row find nothing new; more than `most` in the meantime is too much."""
    same, last = 0, -1
    while same < 10:
        await asyncio.sleep(0.05)
        assert seen.produced <= most
        same = same + 1 if seen.produced == last else 0
        last = seen.produced


async def test_the_callers_deadline_reaches_the_service(gateway: Gateway) -> None:
    """The service is given no more time than the caller has, and when it is over the caller is told."""
    failure = await _failed_in_time(embed(gateway, "hang", timeout=0.4))
    assert failure == "DEADLINE_EXCEEDED"
    assert 0 < gateway.seen.remaining_s[0] <= 0.45
    await eventually(lambda: gateway.seen.ended == 1)


async def _failed_in_time(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code().name


async def test_without_a_deadline_the_contract_sets_one(gateway: Gateway) -> None:
    """A caller that sets none has the method's default; one that wants more than its maximum has that."""
    await embed(gateway, "a")
    await embed(gateway, "a", timeout=3600)
    default, most = gateway.seen.remaining_s
    assert 29 < default <= 30
    assert 299 < most <= 300


async def test_a_service_that_is_not_there(gateway: Gateway) -> None:
    """The caller is told which one, that it is worth coming back, and nothing of addresses."""
    call = gateway.channel.unary_unary("/weft.rag.v1.SearchService/Search")(b"", metadata=gateway.bearer())
    failure = await failure_of(call)
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert failure.metadata == {"dependency": "rag"}
    assert failure.retry_after_s is not None
    assert "127.0.0.1" not in failure.details


async def test_a_service_that_is_lost_in_mid_stream(key_files: KeyFiles) -> None:
    """What came before it was lost arrives; then the caller is told that it is gone, not that the stream has ended."""
    seen = Seen()
    component = Component(servicers=[(generation_grpc.add_GenerationServiceServicer_to_server, Generation(seen))])
    async with AsyncExitStack() as stack:
        inference = await stack.enter_async_context(serving(component))
        async with open_gateway(key_files, seen, inference=inference.address) as gateway:
            call = generate(gateway, "hang")
            assert await call.read() is not grpc.aio.EOF
            await stack.aclose()
            failure = await failure_of(call)
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert failure.metadata == {"dependency": "inference"}


async def test_a_service_that_comes_back_is_found(key_files: KeyFiles) -> None:
    """A service that was not there when the gateway started is reached as soon as it is, without a restart."""
    seen = Seen()
    embedding = Component(servicers=[(embedding_grpc.add_EmbeddingServiceServicer_to_server, Embedding(seen))])
    async with serving(embedding) as first:
        address = first.address
    async with open_gateway(key_files, seen, embedding=address) as gateway:
        assert (await failure_of(embed(gateway, "a"))).code == "UNAVAILABLE"
        async with running(embedding, address, KEY):

            async def answers() -> bool:
                call = embed(gateway, "a")
                return bool(await call.code() is grpc.StatusCode.OK)

            condition: Any = answers
            await eventually(condition)
