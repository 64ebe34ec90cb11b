"""A guard that answers callers: what it sees of a call, and what it may put on the answer."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.errors.errors import Reason, ResourceExhaustedError, ServiceError
from libs.rpc.guard import Admitted, Arrival
from libs.rpc.server import Component
from libs.testing.eventually import eventually
from libs.testing.serving import KEY, raw_stream, raw_unary, serving

SEARCH = "/weft.rag.v1.SearchService/Search"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
REFUSED = "/inference.GRPCInferenceService/SystemSharedMemoryStatus"


class Doorman:
    """Does what the test says, and writes down what it saw."""

    def __init__(self, refusal: ServiceError | None = None, unknown: ServiceError | None = None) -> None:
        self.refusal = refusal
        self.unknown = unknown
        self.seen: list[tuple[str, bytes | None]] = []

    async def identify(self, arrival: Arrival) -> None:
        self.seen.append(("identify", arrival.body))
        if self.unknown:
            raise self.unknown

    async def admit(self, arrival: Arrival) -> Admitted:
        self.seen.append(("admit", arrival.body))
        arrival.answer_headers.append((headers.RATE_REMAINING, "7"))
        if self.refusal:
            raise self.refusal
        context = CallContext("acme", "alice", "c-1", "r-1", "normal", arrival.deadline_s)
        return Admitted(context, seal(context, KEY))

    def left(self, arrival: Arrival) -> None:
        self.seen.append(("left", arrival.body))


async def echo(body: bytes, context: Any) -> bytes:
    return body


async def echoes(bodies: Any, context: Any) -> Any:
    async for body in bodies:
        yield body


def behind(doorman: Doorman) -> Component:
    return Component(passthrough={SEARCH: echo, STREAM: echoes, REFUSED: echo}, guard=doorman)


async def test_a_body_is_read_between_identity_and_admission() -> None:
    """Identity is asked before there is a body, admission with it; a stream is admitted without one."""
    doorman = Doorman()
    async with serving(behind(doorman)) as served, grpc.aio.insecure_channel(served.address) as channel:
        assert await raw_unary(channel, SEARCH)(b"query") == b"query"
        await eventually(lambda: len(doorman.seen) == 3)
        assert doorman.seen == [("identify", None), ("admit", b"query"), ("left", b"query")]
        doorman.seen.clear()
        assert [message async for message in raw_stream(channel, STREAM)(iter([b"one", b"two"]))] == [b"one", b"two"]
        await eventually(lambda: len(doorman.seen) == 3)
    assert doorman.seen == [("identify", None), ("admit", None), ("left", None)]


async def test_its_headers_are_on_every_answer() -> None:
    """What it adds stands in the headers of a good answer, unary or stream, and in the trailers of a refusal."""
    doorman = Doorman()
    async with serving(behind(doorman)) as served, grpc.aio.insecure_channel(served.address) as channel:
        good = raw_unary(channel, SEARCH)(b"query")
        await good
        stream = raw_stream(channel, STREAM)(iter([b"one"]))
        assert await stream.read() == b"one"
        for call in (good, stream):
            assert dict(await call.initial_metadata())[headers.RATE_REMAINING] == "7"
        doorman.refusal = ResourceExhaustedError(Reason.RATE_LIMITED, "enough", retry_after_s=2.0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_unary(channel, SEARCH)(b"query")
    trailers = dict(caught.value.trailing_metadata() or ())
    assert (trailers[headers.RATE_REMAINING], trailers[headers.RETRY_PUSHBACK]) == ("7", "2000")


async def test_who_is_not_known_is_not_read() -> None:
    """A refused identity is told without waiting for the body, and neither admission nor an end follow."""
    doorman = Doorman(unknown=ResourceExhaustedError(Reason.OVERLOADED, "go away"))
    async with serving(behind(doorman)) as served, grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.stream_unary(SEARCH)()
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert doorman.seen == [("identify", None)]


async def test_a_refused_method_is_not_admitted() -> None:
    """What the contract refuses is refused to who is known, and counts against nothing."""
    doorman = Doorman()
    async with serving(behind(doorman)) as served, grpc.aio.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_unary(channel, REFUSED)(b"")
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await eventually(lambda: len(doorman.seen) == 2)
    assert doorman.seen == [("identify", None), ("left", None)]


async def test_a_header_that_came_twice_is_one_list() -> None:
    """A guard sees both values, a comma between, as a proxy may have joined them anyway; of bytes it sees the last."""
    seen: list[dict[str, str | bytes]] = []

    class Reader(Doorman):
        async def identify(self, arrival: Arrival) -> None:
            seen.append(dict(arrival.metadata))

    sent = (*((headers.CACHE_CONTROL, said) for said in ("no-store", "max-age=5")), ("a-bin", b"1"), ("a-bin", b"2"))
    async with serving(behind(Reader())) as served, grpc.aio.insecure_channel(served.address) as channel:
        await raw_unary(channel, SEARCH)(b"query", metadata=sent)
    assert (seen[0][headers.CACHE_CONTROL], seen[0]["a-bin"]) == ("no-store, max-age=5", b"2")
