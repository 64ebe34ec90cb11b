"""What a call carries on to the calls that it makes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from libs.contracts import headers
from libs.errors import errors
from libs.errors.errors import Reason
from libs.rpc.call import CallScope, current_call, remaining_s
from libs.rpc.channel import channel
from libs.rpc.server import Component
from libs.rpc.status import service_error_of, to_service_error
from libs.testing.eventually import eventually
from libs.testing.serving import Served, calling, raw_stream, raw_unary, running_call, serving

OUTER = "/inference.GRPCInferenceService/ModelInfer"
INNER = "/inference.GRPCInferenceService/ServerLive"
INNER_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

Behaviour = Callable[[bytes, Any], Any]


async def through(
    inner: Component, outer: Callable[[grpc.aio.Channel], Behaviour], metadata: Any = (), **context: Any
) -> bytes:
    """The answer to one call of `outer`, which may call `inner`."""
    async with (
        serving(inner) as inside,
        channel(inside.address) as inwards,
        serving(Component(passthrough={OUTER: outer(inwards)})) as outside,
        calling(outside, **context) as calls,
    ):
        return bytes(await raw_unary(calls, OUTER)(b"", metadata=metadata))


def forwarding(inwards: grpc.aio.Channel) -> Behaviour:
    async def forward(body: bytes, context: Any) -> bytes:
        return bytes(await raw_unary(inwards, INNER)(body))

    return forward


async def test_the_signed_context_goes_on() -> None:
    """An inner service sees tenant, principal, call id, request id and priority of the outer call."""
    seen = []

    async def look(body: bytes, context: Any) -> bytes:
        seen.append(current_call())
        return b""

    def outer(inwards: grpc.aio.Channel) -> Behaviour:
        async def forward(body: bytes, context: Any) -> bytes:
            seen.append(current_call())
            return bytes(await raw_unary(inwards, INNER)(b""))

        return forward

    await through(Component(passthrough={INNER: look}), outer, tenant="acme", priority="high", request_id="r-1")
    assert dataclasses.replace(seen[0], path="1") == seen[1]
    assert (seen[0].tenant, seen[0].priority, seen[0].request_id) == ("acme", "high", "r-1")


async def test_the_priority_goes_on_for_those_who_cannot_read_the_context() -> None:
    """An inner call has the call's own priority in a header, and not the one that the caller of the outer call sent."""
    seen: list[Any] = []

    async def look(body: bytes, context: Any) -> bytes:
        seen.extend(value for name, value in context.invocation_metadata() if name == headers.CALL_PRIORITY)
        return b""

    claimed = ((headers.CALL_PRIORITY, "high"),)
    await through(Component(passthrough={INNER: look}), forwarding, metadata=claimed, priority="low")
    assert seen == ["low"]


async def test_the_remaining_time_goes_on() -> None:
    """An inner call has no more time than the outer one has left, and less where it asks for less."""
    left: list[float] = []

    async def look(body: bytes, context: Any) -> bytes:
        left.append(context.time_remaining())
        return b""

    def outer(inwards: grpc.aio.Channel) -> Behaviour:
        async def forward(body: bytes, context: Any) -> bytes:
            left.append(remaining_s())
            await raw_unary(inwards, INNER)(b"", timeout=60)
            await raw_unary(inwards, INNER)(b"", timeout=1)
            return b""

        return forward

    await through(Component(passthrough={INNER: look}), outer, timeout_s=5)
    assert left[0] <= 5
    assert left[1] < 6  # gRPC rounds a timeout up on the wire
    assert left[2] < 2


async def test_the_trace_goes_on() -> None:
    """traceparent and tracestate reach the inner call while this process makes no spans of its own."""
    seen: dict[str, Any] = {}
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def look(body: bytes, context: Any) -> bytes:
        seen.update(dict(context.invocation_metadata()))
        return b""

    await through(Component(passthrough={INNER: look}), forwarding, metadata=((headers.TRACE_PARENT, parent),))
    assert seen[headers.TRACE_PARENT] == parent


async def test_a_cancel_goes_on() -> None:
    """When the caller leaves, the inner call is cancelled too: a stream that nobody reads any more as well."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stream(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(Component(passthrough={INNER_STREAM: stream})) as inside, channel(inside.address) as inwards:

        async def forward(body: bytes, context: Any) -> bytes:
            call = raw_stream(inwards, INNER_STREAM)()
            await call.read()
            kept.append(call)
            await asyncio.Event().wait()
            return b""

        kept: list[Any] = []
        async with serving(Component(passthrough={OUTER: forward})) as outside, calling(outside) as calls:
            call = raw_unary(calls, OUTER)(b"")
            await begun.wait()
            call.cancel()
            await asyncio.wait_for(ended.wait(), 10)


async def test_what_a_call_left_open_ends_with_it() -> None:
    """An inner stream that a handler forgot is cancelled when the handler returns."""
    ended = asyncio.Event()

    async def left(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    kept: list[Any] = []

    def outer(inwards: grpc.aio.Channel) -> Behaviour:
        async def forward(body: bytes, context: Any) -> bytes:
            kept.append(raw_stream(inwards, INNER_STREAM)())
            return bytes(await kept[0].read())

        return forward

    assert await through(Component(passthrough={INNER_STREAM: left}), outer) == b"first"
    await eventually(ended.is_set)


async def test_nothing_is_added_outside_of_a_call() -> None:
    """Without a running call, as in a health check, no context is sent."""

    async def never(body: bytes, context: Any) -> bytes:
        raise AssertionError("must not run")

    async with serving(Component(passthrough={INNER: never})) as inside, channel(inside.address) as inwards:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_unary(inwards, INNER)(b"")
    told = service_error_of(caught.value)
    assert told is not None and told.reason is Reason.CONTEXT_REFUSED


async def test_code_under_no_call_is_told_so() -> None:
    """current_call() outside of a call is a clear error; running_call() of the tests is a call."""
    with pytest.raises(RuntimeError, match="no call is running"):
        current_call()
    async with running_call("acme"):
        assert current_call().tenant == "acme"


async def failing(served: Served, scope: CallScope) -> grpc.aio.AioRpcError:
    async with channel(served.address) as inwards:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_unary(inwards, INNER)(b"")
    return caught.value


async def test_a_peers_error_keeps_its_meaning() -> None:
    """An error of one of our services is, to its caller, the same error."""
    told = errors.NotFoundError(Reason.MODEL_NOT_FOUND, "no such model", metadata={"model": "m"})

    async def fail(body: bytes, context: Any) -> bytes:
        raise told

    async with serving(Component(passthrough={INNER: fail})) as served, running_call() as scope:
        error = to_service_error(await failing(served, scope), "inference")
    assert isinstance(error, errors.NotFoundError)
    assert vars(error) == vars(told)


async def test_a_dead_peer_is_unavailable() -> None:
    """A dependency that is not there is UNAVAILABLE, DEPENDENCY_UNAVAILABLE with its name and a retry delay."""
    async with serving(Component()) as served:
        pass
    async with running_call() as scope:
        error = to_service_error(await failing(served, scope), "inference")
    assert isinstance(error, errors.UnavailableError)
    assert (error.reason, error.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "inference"})
    assert error.retry_after_s is not None


async def test_a_proxys_timer_may_be_faster_than_ours() -> None:
    """UNAVAILABLE after the running call's deadline is DEADLINE_EXCEEDED: what ended the call was its deadline."""
    error = grpc.aio.AioRpcError(UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "upstream request timeout")
    async with running_call() as scope:
        assert type(to_service_error(error, "inference")) is errors.UnavailableError
        scope.deadline_s = time.time()
        assert type(to_service_error(error, "inference")) is errors.DeadlineExceededError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
        (grpc.StatusCode.CANCELLED, errors.CancelledError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.UnavailableError),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.ServiceError),
    ],
)
async def test_a_foreign_status_is_read_with_care(code: grpc.StatusCode, kind: type[errors.ServiceError]) -> None:
    """Of a server that is not ours only the codes that mean the same everywhere are kept; the rest is INTERNAL."""
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "secret")
    told = to_service_error(error, "qdrant")
    assert type(told) is kind
    assert "secret" not in told.message
