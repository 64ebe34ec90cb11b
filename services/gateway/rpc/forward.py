"""The door: passes the bytes of a method on to the service that has it, and what that answers back, unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from libs.contracts import headers
from libs.contracts.policies import Method
from libs.errors.errors import ServiceError, UnavailableError
from libs.rpc.handlers import Passthrough
from libs.rpc.loans import never_sent
from libs.rpc.running import Context
from libs.rpc.status import to_service_error
from services.gateway.app.admit import Admit
from services.gateway.app.answers import Answers, Fresh, ServiceLost
from services.gateway.rpc.guard import running_call

_PASSED_ON = (headers.CACHE_CONTROL, headers.TRITON_GRPC_ERROR)
"""Headers that go on as the caller wrote them: of tritonclient's users the one that Triton reads. Request id, priority,
most tokens and trace travel with the signed context; the token ends here; what else a caller sends means nothing to any
service, so it is dropped, names under `weft-` first of all."""

_INNER = "weft-"
"""How the names of headers begin that only Weft's services tell each other."""


class Forwarding:
    """Ways to the services behind the gateway.

    Messages are passed one at a time, so that a slow reader slows the writer. When the caller leaves, the call behind
    the gateway is cancelled. A service's own status goes back as it is; one that gRPC made here because the service was
    not reached, or was lost, becomes a ServiceError that says so. What was reserved for a call that the service surely
    never saw is free again. Answers of cacheable methods are kept and given again; no others are.
    """

    def __init__(self, admit: Admit, answers: Answers) -> None:
        self._admit = admit
        self._answers = answers

    def __call__(self, method: Method, channel: grpc.aio.Channel) -> Passthrough:
        """A behaviour that forwards `method` over `channel`, which carries context, deadline and request id."""
        way = _Way(method, channel, self._admit)
        if method.server_streaming:
            return way.stream_both if method.client_streaming else way.stream_responses
        if method.client_streaming:
            return way.stream_requests
        return _Keeping(way, self._answers).unary if method.cacheable else way.unary


class _Way:
    """One method's way to its service."""

    def __init__(self, method: Method, channel: grpc.aio.Channel, admit: Admit) -> None:
        self._dependency = method.served_by
        self._admit = admit
        self._unary_unary: Any = channel.unary_unary(method.path)
        self._unary_stream: Any = channel.unary_stream(method.path)
        self._stream_stream: Any = channel.stream_stream(method.path)

    async def unary(self, body: bytes, context: Context) -> bytes:
        return (await self.ask(body, context)).body

    async def ask(self, body: bytes, context: Context) -> Fresh:
        """What the service answers. Raises its own error, or a ServiceError where it was not reached."""
        call = self._unary_unary(body, metadata=_passed_on())
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise self.failure(error) from error
        return Fresh(answer, await _pass_trailers(call, context))

    async def stream_responses(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        call = self._unary_stream(body, metadata=_passed_on())
        try:
            async for answer in call:
                yield answer
            await _pass_trailers(call, context)
        except grpc.aio.AioRpcError as error:
            raise self.failure(error) from error
        finally:
            call.cancel()

    async def stream_both(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        call = self._stream_stream(metadata=_passed_on())
        pump = asyncio.create_task(_pump(bodies, call))
        try:
            async for answer in call:
                yield answer
            await _pass_trailers(call, context)
        except grpc.aio.AioRpcError as error:
            raise self.failure(error) from error
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

    def failure(self, error: grpc.aio.AioRpcError) -> Exception:
        """The service's own status stays as it is, to be relayed: the request id stands in the trailers of each."""
        trailers = error.trailing_metadata() or ()
        if any(name == headers.REQUEST_ID for name, _ in trailers):
            return _outward(error)
        if error.code() is grpc.StatusCode.UNAVAILABLE and never_sent(error.details()):
            self._admit.never_began(running_call.get().admission)
        return to_service_error(error, self._dependency)


class _Keeping:
    """The way of a method whose answers are kept."""

    def __init__(self, way: _Way, answers: Answers) -> None:
        self._way = way
        self._answers = answers

    async def unary(self, body: bytes, context: Context) -> bytes:
        lookup = running_call.get().admission.lookup
        assert lookup is not None, "the method is cacheable"

        async def ask() -> Fresh:
            try:
                return await self._way.ask(body, context)
            except (grpc.aio.AioRpcError, ServiceError) as failure:
                if _unavailable(failure):
                    raise ServiceLost(failure) from failure
                raise

        return await self._answers.answer(lookup, ask)


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


async def _pass_trailers(call: Any, context: Context) -> str:
    """Sets what the caller gets of the service's trailing metadata; returns what the answer depends on."""
    depends = ""
    outward = []
    for name, value in await call.trailing_metadata() or ():
        if name == headers.DEPENDS:
            depends = value if isinstance(value, str) else ""
        if _is_outward(name):
            outward.append((name, value))
    if outward:
        context.set_trailing_metadata(tuple(outward))
    return depends


def _outward(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """The error, without what only Weft's services tell each other."""
    trailers = tuple(error.trailing_metadata() or ())
    kept = [item for item in trailers if not item[0].startswith(_INNER)]
    if len(kept) == len(trailers):
        return error
    outward = grpc.aio.Metadata(*kept)
    return grpc.aio.AioRpcError(error.code(), error.initial_metadata(), outward, error.details())


def _is_outward(name: str) -> bool:
    return name != headers.REQUEST_ID and not name.startswith(_INNER)


def _unavailable(failure: Exception) -> bool:
    if isinstance(failure, grpc.aio.AioRpcError):
        return failure.code() is grpc.StatusCode.UNAVAILABLE
    return isinstance(failure, UnavailableError)


def _passed_on() -> tuple[tuple[str, str | bytes], ...]:
    sent = running_call.get().arrival.metadata
    return tuple((name, sent[name]) for name in _PASSED_ON if name in sent)
