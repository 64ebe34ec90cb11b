"""inference.GRPCInferenceService: passes the bytes of the Open Inference Protocol on to the inference server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc

from libs.contracts import headers
from libs.contracts.policies import Method, methods
from libs.errors.errors import ServiceError
from libs.rpc.call import remaining_s
from libs.rpc.handlers import Passthrough
from libs.rpc.running import Context
from libs.telemetry import traces
from services.inference.app.revive_models import ReviveModels
from services.inference.app.underway import Stream, Underway
from services.inference.domain import failures
from services.inference.domain.models import model_unavailable
from services.inference.ports import CallerStream, ModelCatalogue
from services.inference.rpc.refusals import (
    infer_request,
    malformed,
    pb,
    refuse_nameless_load,
    refuse_shared_memory,
    refuse_shared_memory_of,
)

SERVICE = "inference.GRPCInferenceService"
_MAX_MODELS_OF_A_STREAM = 64
_INFER = f"/{SERVICE}/ModelInfer"
_LOAD = f"/{SERVICE}/RepositoryModelLoad"


Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Behind:
    """What is behind the door: `answers` tells whether it can be reached, `unreachable` makes the error if not."""

    channel: grpc.aio.Channel
    catalogue: ModelCatalogue
    answers: Callable[[], Awaitable[bool]]
    unreachable: Callable[[], ServiceError]
    begin_stream: Callable[[Metadata], CallerStream]


class OpenInferenceDoor:
    """What the server says stays as it is: answers, status, details, trailing metadata. But for what cannot be known
    from it: that it was not reached, that a model's process is dead, that a body is no message."""

    def __init__(self, behind: Behind, revive: ReviveModels, underway: Underway) -> None:
        self._behind = behind
        self._revive = revive
        self._underway = underway
        # Where spans are made, they carry the trace.
        self._onward = headers.TO_INFERENCE_SERVER - (headers.TRACE_HEADERS if traces.enabled() else frozenset())

    def behaviours(self) -> Mapping[str, Passthrough]:
        """Every method of the service by its path."""
        served = [method for method in methods().values() if method.service == SERVICE]
        return {method.path: self._behaviour(method) for method in served}

    def _behaviour(self, method: Method) -> Passthrough:
        if method.client_streaming:
            return self._stream
        return partial(self._unary, method, self._behind.channel.unary_unary(method.path))

    async def _unary(self, method: Method, multicallable: Any, body: bytes, context: Context) -> bytes:
        if method.path == _INFER:
            refuse_shared_memory(body)
        elif method.path == _LOAD:
            refuse_nameless_load(body)
        call = multicallable(body, timeout=remaining_s(), metadata=self._headers(context))
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise await self._failure(error, method) from error
        _set_trailers(await call.trailing_metadata(), context)
        return answer

    async def _stream(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        calls = self._behind.begin_stream(self._headers(context))
        stream = Stream(calls.cut)
        asked: set[str] = set()
        calls.start(self._pump(bodies, calls, stream, asked))
        try:
            async for answer in calls.answers():
                self._look_for_death(answer)
                yield answer
            if stream.error:
                raise stream.error
            _set_trailers(calls.trailers, context)
        except grpc.aio.AioRpcError as error:
            raise await self._failure(error, methods()[f"/{SERVICE}/ModelStreamInfer"]) from error
        finally:
            calls.cancel()
            for model in asked:
                self._underway.leave(model, stream)

    async def _pump(self, bodies: AsyncIterator[bytes], calls: CallerStream, stream: Stream, asked: set[str]) -> None:
        """Passes the caller's messages on; cuts the stream at one that is refused.

        Each is parsed: the server ends a stream without a word where a message cannot be.
        """
        try:
            async for body in bodies:
                request = infer_request(body)
                refuse_shared_memory_of(request)
                if len(asked) < _MAX_MODELS_OF_A_STREAM:
                    asked.add(request.model_name)
                    self._underway.enter(request.model_name, stream)
                await calls.send(request, body, alone=await self._may_stream(request.model_name))
            await calls.done_sending()
        except ServiceError as refused:
            stream.cut(refused)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # The server has ended the call: its status is read where its messages are.

    async def _may_stream(self, model: str) -> bool:
        """Whether a model may answer more than once, as far as is known: one that is not known may."""
        try:
            return (await self._behind.catalogue.loaded(model)).decoupled
        except ServiceError:
            return True

    def _headers(self, context: Context) -> Metadata:
        """Those that mean something to the server. Neither the token nor anything of Weft's own reaches it."""
        return tuple((name, value) for name, value in context.invocation_metadata() or () if name in self._onward)

    async def _failure(self, error: grpc.aio.AioRpcError, method: Method) -> Exception:
        """The error itself, which is relayed, or what it means."""
        code, message = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAVAILABLE and not await self._behind.answers():
            return self._behind.unreachable()
        if code is grpc.StatusCode.INTERNAL:
            dead = failures.dead_process(message)
            if dead is not None:
                self._revive.suspect(dead)
                return model_unavailable(dead, "its process died, it is being loaded again")
            if failures.is_unreadable(message):
                return malformed(f"inference.{method.name}Request")
        if code is grpc.StatusCode.NOT_FOUND and failures.is_not_ready(message):
            for model in self._revive.reviving:
                if f"'{model}'" in message:
                    return model_unavailable(model, "it is being loaded again")
        return error

    def _look_for_death(self, answer: bytes) -> None:
        """In a stream a model's failure is told in a message, which the caller gets as it is."""
        if failures.DEAD_PROCESS_MARK in answer:
            dead = failures.dead_process(pb.ModelStreamInferResponse.FromString(answer).error_message)
            if dead is not None:
                self._revive.suspect(dead)


def _set_trailers(trailers: Any, context: Context) -> None:
    if trailers:
        context.set_trailing_metadata(tuple(trailers))
