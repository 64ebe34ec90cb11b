"""Calls as a client makes them: headers, deadlines and request ids are filled in, failures are CallErrors."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from libs.contracts import headers
from libs.contracts.policies import methods
from weft.client import errors

Headers = Sequence[tuple[str, str | bytes]]


class ClientChannel(grpc.aio.Channel):
    """Wraps a channel; generated stubs take it for one. `headers_of` is asked at each call.

    Requests are serialized deterministically: the gateway knows the same question by the same bytes.
    """

    def __init__(self, inner: grpc.aio.Channel, headers_of: Callable[[], Headers]) -> None:
        self._inner = inner
        self._headers_of = headers_of

    def unary_unary(self, method: str, request_serializer: Any = None, *args: Any, **kwargs: Any) -> Any:
        args = (_dump, *args)
        return _Callable(self._inner.unary_unary(method, *args, **kwargs), method, self._headers_of, _UnaryCall)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Callable(self._inner.unary_stream(method, *args, **kwargs), method, self._headers_of, _StreamCall)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{method}: no contract of Weft's has streams of requests")

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{method}: no contract of Weft's has streams of requests")

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> ClientChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Callable:
    """One method. Called as a grpc.aio multi-callable is: `(request, *, timeout=None, metadata=None)`."""

    def __init__(
        self, inner: Callable[..., Any], path: str, headers_of: Callable[[], Headers], wrap: Callable[[Any, str], Any]
    ) -> None:
        self._inner = inner
        self._headers_of = headers_of
        self._wrap = wrap
        self._method = methods()[path]

    def __call__(
        self, request: Message, *, timeout: float | None = None, metadata: Headers | None = None, **kwargs: Any
    ) -> Any:
        sent = [*(metadata or ()), *self._headers_of()]
        request_id = next((str(value) for name, value in sent if name == headers.REQUEST_ID), None)
        if request_id is None:
            request_id = str(uuid.uuid4())
            sent.append((headers.REQUEST_ID, request_id))
        wanted_s = self._method.default_timeout_s if timeout is None else timeout
        timeout = min(wanted_s, self._method.max_timeout_s)
        call = self._inner(_with_request_id(request), timeout=timeout, metadata=tuple(sent), **kwargs)
        return self._wrap(call, request_id)


class _Call:
    """A call under way. All that a grpc.aio call has and that is not wrapped is the inner call's."""

    def __init__(self, inner: Any, request_id: str) -> None:
        self._inner = inner
        self._request_id = request_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _UnaryCall(_Call):
    """Awaited, it is the response. Raises CallError."""

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._inner.__await__())
        except grpc.aio.AioRpcError as error:
            raise errors.of_status(error, self._request_id) from None


class _StreamCall(_Call):
    """Iterated, it is the responses; the call is cancelled when the iteration is left. Raises CallError, once.

    A stream tells a failure twice, in its last message and in its status, because a status gets lost on some ways. That
    message is not handed out: the CallError says the same.
    """

    async def __aiter__(self) -> AsyncIterator[Any]:
        told: errors.CallError | None = None
        try:
            async for message in self._inner:
                if _is_error(message):
                    told = errors.of_message(message.error, self._request_id)
                else:
                    yield message
        except grpc.aio.AioRpcError as error:
            raise errors.of_status(error, self._request_id) from None
        finally:
            self._inner.cancel()
        if told is not None:
            raise told

    def read(self) -> Any:
        raise NotImplementedError("iterate over the call")


def _dump(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _is_error(message: Message) -> bool:
    """Whether this is the `error` of a stream's `event`."""
    return "event" in message.DESCRIPTOR.oneofs_by_name and message.WhichOneof("event") == "error"


def _with_request_id(request: Message) -> Message:
    """The request, with a fresh `request_id` if it can have one and has none.

    It is sent again with each attempt, so that a mutation whose answer was lost is not done twice. The caller's own
    message stays as it is: sent once more, it is another request.
    """
    if "request_id" not in request.DESCRIPTOR.fields_by_name or request.request_id:  # type: ignore[attr-defined]
        return request
    filled = type(request)()
    filled.CopyFrom(request)
    filled.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    return filled
