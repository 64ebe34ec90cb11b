"""The door: passes the bytes of a method on to the service that has it, and what that answers back, unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from libs.contracts import headers
from libs.contracts.policies import Method
from libs.errors.errors import ServiceError
from libs.rpc.handlers import Passthrough
from libs.rpc.running import Context
from libs.rpc.status import to_service_error

_PASSED_ON = frozenset({headers.CACHE_CONTROL, headers.TRITON_GRPC_ERROR})
"""Headers that go on as the caller wrote them: of tritonclient's users the one that Triton reads. Request id, priority,
most tokens and trace travel with the signed context; the token ends here; what else a caller sends means nothing to any
service, so it is dropped, names under `weft-` first of all."""


def forward(method: Method, channel: grpc.aio.Channel) -> Passthrough:
    """A behaviour that forwards `method` over `channel`, which carries the context, the deadline and the request id.

    Messages are passed one at a time, so that a slow reader slows the writer. When the caller leaves, the call behind
    the gateway is cancelled. A service's own status goes back as it is; one that gRPC made here because the service was
    not reached, or was lost, becomes a ServiceError that says so.
    """
    door = _Forwarding(method, channel)
    if method.server_streaming:
        return door.stream_both if method.client_streaming else door.stream_responses
    return door.stream_requests if method.client_streaming else door.unary


class _Forwarding:
    """One method's way to its service."""

    def __init__(self, method: Method, channel: grpc.aio.Channel) -> None:
        self._dependency = method.served_by
        self._unary_unary: Any = channel.unary_unary(method.path)
        self._unary_stream: Any = channel.unary_stream(method.path)
        self._stream_stream: Any = channel.stream_stream(method.path)

    async def unary(self, body: bytes, context: Context) -> bytes:
        call = self._unary_unary(body, metadata=_passed_on(context))
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        await _pass_trailers(call, context)
        return answer

    async def stream_responses(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        call = self._unary_stream(body, metadata=_passed_on(context))
        try:
            async for answer in call:
                yield answer
            await _pass_trailers(call, context)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        finally:
            call.cancel()

    async def stream_both(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        call = self._stream_stream(metadata=_passed_on(context))
        pump = asyncio.create_task(_pump(bodies, call))
        try:
            async for answer in call:
                yield answer
            await _pass_trailers(call, context)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        except asyncio.CancelledError:
            if pump.done() and not pump.cancelled() and (refused := pump.result()):
                raise refused from None
            raise
        finally:
            pump.cancel()
            call.cancel()

    async def stream_requests(self, bodies: AsyncIterator[bytes], context: Context) -> bytes:
        # On the wire a single response is a stream of one: the same way serves both.
        answer = b""
        async for received in self.stream_both(bodies, context):
            answer = received
        return answer

    def _failure(self, error: grpc.aio.AioRpcError) -> Exception:
        """The service's own status stays as it is, to be relayed: the request id stands in the trailers of each."""
        if any(name == headers.REQUEST_ID for name, _ in error.trailing_metadata() or ()):
            return error
        return to_service_error(error, self._dependency)


async def _pump(bodies: AsyncIterator[bytes], call: Any) -> ServiceError | None:
    """Passes the caller's messages on. Cancels `call` and returns the error where one of them is refused here."""
    try:
        async for body in bodies:
            await call.write(body)
        await call.done_writing()
    except ServiceError as refused:
        call.cancel()
        return refused
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # The service has ended the call: its status is read where its messages are.
    return None


async def _pass_trailers(call: Any, context: Context) -> None:
    trailers = await call.trailing_metadata()
    if trailers:
        context.set_trailing_metadata(tuple(trailers))


def _passed_on(context: Context) -> tuple[tuple[str, str | bytes], ...]:
    sent = {name: value for name, value in context.invocation_metadata() or () if name in _PASSED_ON}
    return tuple(sent.items())
