"""inference.GRPCInferenceService: passes the bytes of the Open Inference Protocol on to the inference server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias

import grpc

from libs.contracts import headers
from libs.contracts.policies import Method, methods
from libs.errors.errors import DeadlineExceededError, Reason, ServiceError
from libs.rpc.call import current_call, deadline_passed, remaining_s
from libs.rpc.handlers import Passthrough
from libs.rpc.running import Context
from libs.telemetry import traces
from services.inference.app.charge_bytes import ByteBill, byte_bill
from services.inference.app.revive_models import ReviveModels
from services.inference.app.turnstile import Turn, Turnstile
from services.inference.app.underway import Stream, Underway
from services.inference.domain import failures
from services.inference.domain.models import Model, model_unavailable
from services.inference.ports import CallerStream, Meter, ModelCatalogue
from services.inference.rpc.caller import caller_of
from services.inference.rpc.infer_bytes import answering_model, asked_model
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
_UNLOAD = f"/{SERVICE}/RepositoryModelUnload"

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Behind:
    """What is behind the door: `answers` tells whether it can be reached, `unreachable` makes the error if not."""

    channel: grpc.aio.Channel
    catalogue: ModelCatalogue
    answers: Callable[[], Awaitable[bool]]
    unreachable: Callable[[], ServiceError]
    begin_stream: Callable[[Metadata], CallerStream]


@dataclass(frozen=True)
class Rules:
    """What a call keeps to. `models_changed` is called after a model was loaded or unloaded through the door."""

    turnstile: Turnstile
    meter: Meter
    models_changed: Callable[[], Awaitable[None]]


class OpenInferenceDoor:
    """What the server says stays as it is: answers, status, details, trailing metadata. But for what cannot be known
    from it: that it was not reached, that a model's process is dead, that a body is no message.

    Requests wait for their turn as those of typed generation do; no other model stands in, since tensors are a model's
    own. What the caller's own calls use is recorded by their bytes, because tokens are the model's own matter too;
    calls that a service makes are recorded by that service. A request that is larger than what is left of a budget is
    refused, and a stream ends with BUDGET_EXHAUSTED before the answer that would pass it. But nobody knows how large
    the answer to a unary call will be: it may pass the allowance by its own size.
    """

    def __init__(self, behind: Behind, rules: Rules, revive: ReviveModels, underway: Underway) -> None:
        self._behind = behind
        self._rules = rules
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
        behaviour = {_INFER: self._infer, _LOAD: self._change, _UNLOAD: self._change}.get(method.path, self._pass)
        return partial(behaviour, method, self._behind.channel.unary_unary(method.path))

    async def _pass(self, method: Method, multicallable: Any, body: bytes, context: Context) -> bytes:
        call = multicallable(body, timeout=remaining_s(), metadata=self._headers(context))
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise await self._failure(error, method) from error
        _set_trailers(await call.trailing_metadata(), context)
        return answer

    async def _change(self, method: Method, multicallable: Any, body: bytes, context: Context) -> bytes:
        if method.path == _LOAD:
            refuse_nameless_load(body)
        try:
            return await self._pass(method, multicallable, body, context)
        finally:
            await self._rules.models_changed()

    async def _infer(self, method: Method, multicallable: Any, body: bytes, context: Context) -> bytes:
        refuse_shared_memory(body)
        model = await self._known(asked_model(body))
        if model is None:
            return await self._pass(method, multicallable, body, context)
        turn = await self._rules.turnstile.enter(model.name, caller_of(current_call()))
        with turn:
            async with self._bill(method) as bill:
                if bill is not None:
                    await bill.read(model.name, len(body))
                with _Asked(turn):
                    answer = await self._pass(method, multicallable, body, context)
                if bill is not None:
                    bill.wrote(model.name, len(answer), bounded=False)
        return answer

    async def _stream(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        method = methods()[f"/{SERVICE}/ModelStreamInfer"]
        calls = self._behind.begin_stream(self._headers(context))
        stream = Stream(calls.cut)
        asked: set[str] = set()
        async with self._bill(method) as bill:
            calls.start(self._pump(bodies, calls, stream, asked, bill))
            try:
                async for answer in calls.answers():
                    self._look_for_death(answer)
                    if bill is not None:
                        bill.wrote(answering_model(answer), len(answer), bounded=True)
                    yield answer
                if stream.error:
                    raise stream.error
                _set_trailers(calls.trailers, context)
            except grpc.aio.AioRpcError as error:
                raise await self._failure(error, method) from error
            finally:
                calls.cancel()
                for model in asked:
                    self._underway.leave(model, stream)

    async def _pump(
        self, bodies: AsyncIterator[bytes], calls: CallerStream, stream: Stream, asked: set[str], bill: ByteBill | None
    ) -> None:
        """Passes the caller's messages on, each when its turn has come; cuts the stream at one that is refused.

        Each is parsed: the server ends a stream without a word where a message cannot be.
        """
        try:
            async for body in bodies:
                request = infer_request(body)
                refuse_shared_memory_of(request)
                if len(asked) < _MAX_MODELS_OF_A_STREAM:
                    asked.add(request.model_name)
                    self._underway.enter(request.model_name, stream)
                model = await self._known(request.model_name)
                asking = await self._asking(model, len(body), bill)
                # One that is not known may answer more than once.
                await calls.send(request, body, asking, alone=model is None or model.decoupled)
            await calls.done_sending()
        except ServiceError as refused:
            stream.cut(refused)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # The server has ended the call: its status is read where its messages are.

    async def _asking(self, model: Model | None, request_bytes: int, bill: ByteBill | None) -> _Asked:
        """A model that is not known needs no turn, and is not charged: the server refuses the request."""
        if model is None:
            return _Asked(None)
        turn = await self._rules.turnstile.enter(model.name, caller_of(current_call()))
        try:
            if bill is not None:
                await bill.read(model.name, request_bytes)
        except BaseException:
            turn.end()
            raise
        return _Asked(turn)

    async def _known(self, model: str) -> Model | None:
        """A model that can be asked, as far as is known."""
        try:
            return await self._behind.catalogue.loaded(model)
        except ServiceError:
            return None

    def _bill(self, method: Method) -> AbstractAsyncContextManager[ByteBill | None]:
        """What the call uses, unless whoever made it records that."""
        if current_call().path or method.cost is None:
            return nullcontext()
        # What a stream costs beside its bytes is only reserved for it: nobody knows before how many it has.
        a_call = 0 if method.client_streaming else method.cost.input_tokens
        return byte_bill(self._rules.meter, method.cost.bytes_per_token, a_call)

    def _headers(self, context: Context) -> Metadata:
        """Those that mean something to the server. Neither the token nor anything of Weft's own reaches it."""
        return tuple((name, value) for name, value in context.invocation_metadata() or () if name in self._onward)

    async def _failure(self, error: grpc.aio.AioRpcError, method: Method) -> Exception:
        """The error itself, which is relayed, or what it means."""
        code, message = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAVAILABLE and deadline_passed():
            return DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "the call's deadline passed")
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


class _Asked:
    """Asking: a turn, if there is one, which is told what a failure says of the model."""

    def __init__(self, turn: Turn | None) -> None:
        self._turn = turn

    def produced(self) -> None:
        if self._turn is not None:
            self._turn.produced()

    def end(self, error: BaseException | None = None) -> None:
        if self._turn is not None:
            self._turn.end(_meaning(error))

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


def _meaning(error: BaseException | None) -> BaseException | None:
    """The error, in the words of this project where it is the model's failure."""
    if isinstance(error, grpc.aio.AioRpcError):
        dead = failures.dead_process(error.details() or "")
        if dead is not None or (error.code() is grpc.StatusCode.UNAVAILABLE and not deadline_passed()):
            return model_unavailable(dead or "", "it does not answer")
    return error
