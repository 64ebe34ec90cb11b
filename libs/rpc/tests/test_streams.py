"""Streams and methods over bytes, seen over a real connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.errors import errors
from libs.errors.errors import Reason
from libs.rpc.call import current_call
from libs.rpc.server import Component
from libs.rpc.status import service_error_of
from libs.rpc.tests.lab import (
    INFER,
    QUESTION,
    STREAM_INFER,
    answering,
    failure,
    no_numbers,
    raising,
    raw,
)
from libs.testing.eventually import eventually
from libs.testing.serving import KEY, calling, raw_stream, raw_unary, serving
from weft.rag.v1 import answer_service_pb2_grpc


async def test_a_stream_arrives_in_order() -> None:
    """All messages of a stream arrive, then OK; an empty stream has its request id too."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async with serving(answering(numbers)) as served, calling(served) as channel:
        stub = answer_service_pb2_grpc.AnswerServiceStub(channel)
        assert [message.sequence async for message in stub.StreamAnswer(QUESTION)] == list(range(100))
    async with serving(answering(no_numbers)) as served, calling(served, request_id="r-9") as channel:
        call: Any = answer_service_pb2_grpc.AnswerServiceStub(channel).StreamAnswer(QUESTION)
        assert [message async for message in call] == []
        assert (await call.initial_metadata())[headers.REQUEST_ID] == "r-9"


async def test_a_stream_fails_after_its_messages() -> None:
    """What a stream sent before it failed arrives, then the error with its details."""

    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise errors.UnavailableError(Reason.MODEL_UNAVAILABLE, "gone", metadata={"model": "m"})

    async with serving(answering(numbers)) as served, calling(served) as channel:
        call: Any = answer_service_pb2_grpc.AnswerServiceStub(channel).StreamAnswer(QUESTION)
        assert (await call.read()).sequence == 1
        told = service_error_of(await failure(call.read()))
        assert told is not None and told.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize("reading", [True, False])
async def test_a_cancelled_stream_closes_its_generator(reading: bool) -> None:
    """When the caller leaves a stream, the servicer's generator is closed, also when it waits for a slow reader."""
    ended = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            while not reading:
                yield 2
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(answering(numbers)) as served, calling(served) as channel:
        call: Any = answer_service_pb2_grpc.AnswerServiceStub(channel).StreamAnswer(QUESTION)
        await call.read()
        call.cancel()
        await eventually(ended.is_set)


async def test_a_slow_readers_stream_ends_at_its_deadline() -> None:
    """A stream whose caller does not read, and has no deadline of its own, ends at its context's with a reason."""
    ended = asyncio.Event()

    async def flood(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            ended.set()

    component = Component(passthrough={STREAM_INFER: flood})
    async with serving(component) as served, grpc.aio.insecure_channel(served.address) as channel:
        context = CallContext("acme", "alice", "c", "r", "normal", time.time() + 0.2)
        call = raw_stream(channel, STREAM_INFER)(metadata=((headers.CONTEXT, seal(context, KEY)),))
        await asyncio.wait_for(ended.wait(), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await call.read() is not grpc.aio.EOF:
                pass
    told = service_error_of(caught.value)
    assert told is not None
    assert told.reason is Reason.DEADLINE_EXCEEDED


async def test_bytes_pass_through_as_they_are() -> None:
    """A pass-through method gets the body and the call's scope, and its bytes are the answer."""

    async def infer(body: bytes, context: Any) -> bytes:
        return current_call().tenant.encode() + body

    async with serving(Component(passthrough={INFER: infer})) as served:
        async with calling(served, "acme") as channel:
            assert await raw_unary(channel, INFER)(b"\xff\x00") == b"acme\xff\x00"
        told = service_error_of(await failure(raw(served, INFER)))
        assert told is not None and told.reason is Reason.CONTEXT_REFUSED


async def test_streams_pass_both_ways() -> None:
    """A bidirectional pass-through answers each message while the caller still sends."""

    async def infer(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for body in bodies:
            yield body * 2

    async with serving(Component(passthrough={STREAM_INFER: infer})) as served, calling(served) as channel:
        call = raw_stream(channel, STREAM_INFER)()
        for body in (b"a", b"b"):
            await call.write(body)
            assert await call.read() == body * 2
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_foreign_status_is_relayed() -> None:
    """What a pass-through's peer ended the call with reaches the caller: code, details and trailing metadata."""
    trailers = grpc.aio.Metadata(("x-model", "m"), (headers.REQUEST_ID, "theirs"), ("blob-bin", b"\x00\xff"))

    async def infer(body: bytes, context: Any) -> bytes:
        raise grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, "no such model")

    component = Component(passthrough={INFER: infer})
    async with serving(component) as served, calling(served, request_id="ours") as channel:
        error = await failure(raw_unary(channel, INFER)(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such model")
    assert dict(error.trailing_metadata()) == {"x-model": "m", headers.REQUEST_ID: "ours", "blob-bin": b"\x00\xff"}


async def test_refused_methods_say_why() -> None:
    """A method whose policy refuses it is PERMISSION_DENIED, METHOD_REFUSED, with the policy's own words."""
    path = "/inference.GRPCInferenceService/SystemSharedMemoryStatus"

    async def never(body: bytes, context: Any) -> bytes:
        raise AssertionError("must not run")

    async with serving(Component(passthrough={path: never})) as served, calling(served) as channel:
        error = await failure(raw_unary(channel, path)(b""))
    told = service_error_of(error)
    assert told is not None
    assert (error.code(), told.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.METHOD_REFUSED)
    assert "shared memory" in told.message.lower()


async def test_only_methods_with_a_policy_are_served() -> None:
    """A pass-through of a method that no contract knows stops the start."""
    with pytest.raises(ValueError, match="/x/y is in no contract"):
        async with serving(Component(passthrough={"/x/y": raising(AssertionError())})):
            pass
