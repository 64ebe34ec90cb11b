"""Handlers of raw bytes around servicers and pass-throughs: parse, validate, call, serialize, under a RunningCall."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from libs.contracts.policies import Method, methods
from libs.errors import errors
from libs.errors.errors import Reason
from libs.rpc.gate import Gate
from libs.rpc.parsing import parser
from libs.rpc.running import Context, RunningCall, unknown_method

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Parse = Callable[[bytes], Any]
Dump = Callable[[Any], bytes]
Passthrough = Callable[[Any, Context], Any]
"""A method over raw bytes: `async def (bytes, context) -> bytes`, or an async generator of bytes where the server
streams. The first argument is an async iterator of bytes where the client streams. An AioRpcError that it raises is
relayed as it is: code, details and trailing metadata."""


class Routes(grpc.GenericRpcHandler):
    """All methods of a server by their path, and an honest answer for every other path.

    Generated `add_XServicer_to_server` functions take it for a server: it keeps what they register, wrapped.
    """

    def __init__(self, gate: Gate, limit_bytes: int) -> None:
        self._gate = gate
        self._limit_bytes = limit_bytes
        self._handlers: dict[str, Handler] = {}

    @property
    def services(self) -> set[str]:
        """Full names of the services that have a method here."""
        return {path.split("/")[1] for path in self._handlers}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The handler of a path; never None: gRPC's own answer to an unknown path has no ErrorInfo."""
        path = handler_call_details.method
        return self._handlers.get(path) or self._unknown(path)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code registers everything twice: the other method has all."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes a servicer's methods. Raises ValueError where one has no policy."""
        descriptor = descriptor_pool.Default().FindServiceByName(service)
        for name, handler in handlers.items():
            request = message_factory.GetMessageClass(descriptor.methods_by_name[name].input_type)
            self.add_typed(f"/{service}/{name}", behaviour_of(handler), request)

    def add_typed(self, path: str, behaviour: Callable[..., Any], request: type[Message]) -> None:
        """Serves `path` with messages, valid ones of type `request`. Raises ValueError where it has no policy."""
        self._add(policy_of(path), behaviour, parser(request), _dump, self._limit_bytes)

    def add_passthrough(self, path: str, behaviour: Passthrough, limit_bytes: int) -> None:
        """Serves `path`, a method of a known contract, with bytes. Raises ValueError where it has no policy."""
        self._add(policy_of(path), behaviour, None, None, limit_bytes)

    def _add(
        self, method: Method, behaviour: Callable[..., Any], parse: Parse | None, dump: Dump | None, limit_bytes: int
    ) -> None:
        wrapper = _Wrapper(self._gate, method, behaviour, parse, dump, limit_bytes)
        self._handlers[method.path] = wrapper.handler()

    def _unknown(self, path: str) -> Handler:
        async def refuse(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async with RunningCall(self._gate, path, None, context):
                raise unknown_method(path)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


class _Wrapper:
    """One method, wrapped. `parse` and `dump` are None where bytes go through as they are."""

    def __init__(
        self,
        gate: Gate,
        method: Method,
        behaviour: Callable[..., Any],
        parse: Parse | None,
        dump: Dump | None,
        limit_bytes: int,
    ) -> None:
        self._gate = gate
        self._method = method
        self._behaviour = behaviour
        self._parse = parse
        self._dump = dump
        self._limit_bytes = limit_bytes

    def handler(self) -> Handler:
        """For gRPC, which is told of no (de)serializer: it answers a bad body with UNKNOWN and the exception's text.

        On the wire a single request is a stream of one. Said to be a stream, it is not read before the call is
        admitted: who may not call cannot make the server keep a body, and a body that never comes has a deadline.
        """
        if self._method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.stream_unary_rpc_method_handler(self._unary)

    async def _unary(self, bodies: AsyncIterator[bytes], context: Context) -> bytes:
        async with self._running(context) as call:
            request = await self._admitted(call, bodies, context)
            response = await self._behaviour(request, context)
            data: bytes = response if self._dump is None else self._dump(response)
            await call.end_well()
            return data
        raise AssertionError("a call that failed has been aborted")

    async def _stream(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Writes itself and yields nothing: a deadline that passes while gRPC writes for us would end nothing."""
        async with self._running(context) as call:
            dump = self._dump
            request = await self._admitted(call, bodies, context)
            async with aclosing(self._behaviour(request, context)) as responses:
                async for response in responses:
                    await call.send_headers()
                    await context.write(response if dump is None else dump(response))
            await call.end_stream_well()
        return
        yield b""  # makes this an async generator, which is what tracing interceptors take

    def _running(self, context: Context) -> RunningCall:
        return RunningCall(self._gate, self._method.path, self._method, context, relay=self._parse is None)

    async def _admitted(self, call: RunningCall, bodies: AsyncIterator[bytes], context: Context) -> Any:
        """The request of a call that may be made: who may not call is not read, who calls too much is not parsed."""
        await call.identify()
        if self._method.client_streaming:
            await call.admit(None)
            return self._requests(bodies)
        body = await context.read()
        if body is grpc.aio.EOF:
            raise _bodiless(self._method)
        self._check_size(body)
        await call.admit(body)
        return self._message(body)

    async def _requests(self, bodies: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for body in bodies:
            self._check_size(body)
            yield self._message(body)

    def _message(self, body: bytes) -> Any:
        return body if self._parse is None else self._parse(body)

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._limit_bytes:
            raise errors.ResourceExhaustedError(
                Reason.MESSAGE_TOO_LARGE,
                f"the message has {len(body)} bytes; at most {self._limit_bytes} are taken",
                metadata={"limit_bytes": str(self._limit_bytes)},
            )


def policy_of(path: str) -> Method:
    """The policy of a method that is to be served. Raises ValueError where it has none."""
    method = methods().get(path)
    if method is None:
        raise ValueError(f"{path} is in no contract and has no policy")
    return method


def behaviour_of(handler: Handler) -> Callable[..., Any]:
    """The servicer's method in a handler that generated code made."""
    behaviours = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(behaviour for behaviour in behaviours if behaviour is not None)


def _bodiless(method: Method) -> errors.InvalidArgumentError:
    request = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}").input_type.full_name
    return errors.InvalidArgumentError(
        Reason.MESSAGE_MALFORMED, f"the call ended without a {request}", metadata={"message": request}
    )


def _dump(message: Message) -> bytes:
    return message.SerializeToString()
