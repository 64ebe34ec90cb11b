"""One call under way, from its headers to its status: everything that every method needs, in one place."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, NoReturn

import grpc

from libs.contracts import headers
from libs.contracts.policies import Method
from libs.errors import errors
from libs.errors.errors import Reason, ServiceError
from libs.rpc.call import CallScope, Metadata, headers_of, new_request_id, request_id_of, running_scope
from libs.rpc.gate import Gate
from libs.rpc.guard import Admitted, Arrival
from libs.rpc.status import grpc_code, to_status
from libs.telemetry import logs, traces

Context = grpc.aio.ServicerContext[Any, Any]

_FOREVER_S = 1e9
_OVERLOAD_RETRY_S = 1.0


class RunningCall:
    """Context manager around a handler: `identify`, then `admit` with the request's bytes; `send_headers` before the
    first message of a stream and `end_stream_well` after the last, or `end_well` before the one response.

    Leaving it ends the call: a ServiceError, a passed deadline and any other exception become the call's status; calls
    that were made under it and are still open are cancelled; one line is logged. An error is sent without response
    headers (a "trailers-only" answer), because gRPC clients never retry a call whose headers have come.
    """

    def __init__(self, gate: Gate, path: str, method: Method | None, context: Context, *, relay: bool = False) -> None:
        self._gate = gate
        self._path = path
        self._method = method
        self._context = context
        self._relay = relay
        self._metadata = headers_of(tuple(context.invocation_metadata() or ()))
        self._request_id = request_id_of(self._metadata) or ""
        self._begin_s = time.perf_counter()
        self._arrival: Arrival | None = None
        self._identified = False
        self._scope: CallScope | None = None
        self._deadline_s = 0.0
        self._timeout: asyncio.Timeout | None = None
        self._counted = False
        self._counted_public = False
        self._headers_sent = False
        logs.call_fields.set({"method": path})

    async def identify(self) -> None:
        """Lets the request be read: knows who calls, and until when. Raises ServiceError where nobody may read it."""
        method = self._method
        assert method is not None
        self._deadline_s = time.time() + self._allowed_s(method)
        if method.public:
            self._admit_public()
        else:
            await self._identify_known(method)
        self._timeout = asyncio.timeout(max(0.0, self._deadline_s - time.time()))
        await self._timeout.__aenter__()

    async def admit(self, body: bytes | None) -> None:
        """Lets the call begin, whose request is `body` (None: a stream). Raises ServiceError where it may not."""
        arrival = self._arrival
        if arrival is not None and self._scope is None:
            arrival.body = body
            self._begin(await self._gate.guard.admit(arrival))

    async def end_well(self) -> None:
        """Puts the request id, what was used and what the answer depends on, on a good unary answer.

        Callers are answered in headers, which cost a third of a small call; a service that calls knows the id already,
        and reads the rest in the trailers.
        """
        if self._gate.answers_callers:
            await self.send_headers()
        else:
            await self._set_trailers()

    async def end_stream_well(self) -> None:
        """The same for a stream, whose headers may be sent already."""
        await self.send_headers()
        if not self._gate.answers_callers:
            await self._set_trailers()

    async def _set_trailers(self) -> None:
        own = {headers.REQUEST_ID, headers.USED, headers.DEPENDS}
        trailers = [item for item in self._context.trailing_metadata() or () if item[0] not in own]
        trailers.append((headers.REQUEST_ID, self._request_id))
        if self._scope is not None:
            await self._scope.settled()
            trailers += self._spent(self._scope)
            if stamps := self._scope.stamps.header:
                trailers.append((headers.DEPENDS, stamps))
        self._context.set_trailing_metadata(tuple(trailers))

    def _spent(self, scope: CallScope) -> list[tuple[str, str]]:
        """What a caller that lent this call a share wants to know; nothing while not all of it is known: to the caller
        this call's end was not seen then."""
        known = scope.is_told and not scope.unseen
        return [(headers.USED, str(scope.used_tokens))] if scope.lends and scope.context.path and known else []

    async def send_headers(self) -> None:
        """Sends the response headers, once."""
        if not self._headers_sent:
            self._headers_sent = True
            await self._context.send_initial_metadata(((headers.REQUEST_ID, self._request_id), *self._answer_headers()))

    async def __aenter__(self) -> RunningCall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._timeout is not None:
                await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            error = errors.DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "the call's deadline passed")
        finally:
            self._leave()
        await self._finish(error)

    def _allowed_s(self, method: Method) -> float:
        remaining_s = self._context.time_remaining()
        if remaining_s is None or remaining_s > _FOREVER_S:
            return method.default_timeout_s
        return min(remaining_s, method.max_timeout_s)

    def _admit_public(self) -> None:
        self._request_id = self._request_id or new_request_id()
        if self._gate.running_public >= Gate.MAX_PUBLIC_CALLS:
            raise _overloaded("too many calls without a token are under way; try again")
        self._gate.running_public += 1
        self._counted_public = True

    async def _identify_known(self, method: Method) -> None:
        gate = self._gate
        self._arrival = arrival = Arrival(method, self._metadata, self._deadline_s)
        if gate.answers_callers:
            self._count()
        admitted = await gate.guard.identify(arrival)
        self._identified = True
        if admitted is not None:
            self._begin(admitted)
        if not gate.answers_callers:
            self._count()  # Only now: a call of the gateway's is told to the ledger, refused or not.
        if method.refusal:
            raise errors.PermissionDeniedError(Reason.METHOD_REFUSED, method.refusal, metadata={"method": self._path})

    def _count(self) -> None:
        if self._gate.running >= self._gate.max_calls:
            raise _overloaded("too many calls are under way; try again")
        self._gate.running += 1
        self._counted = True

    def _begin(self, admitted: Admitted) -> None:
        context = admitted.context
        self._request_id = context.request_id
        self._deadline_s = min(self._deadline_s, context.deadline_s)
        self._scope = CallScope(
            context,
            admitted.sealed,
            self._deadline_s,
            self._trace(),
            key=admitted.key,
            accounts=self._gate.accounts,
        )
        running_scope.set(self._scope)
        fields = {
            "request_id": context.request_id,
            "call_id": context.call_id,
            "tenant": context.tenant,
        }
        trace_id = traces.annotate(fields) or _trace_id(self._metadata)
        if trace_id:
            fields["trace_id"] = trace_id
        fields["method"] = self._path
        logs.call_fields.set(fields)

    def _answer_headers(self) -> list[tuple[str, str]]:
        return self._arrival.answer_headers if self._arrival is not None else []

    def _trace(self) -> tuple[tuple[str, str | bytes], ...]:
        if traces.enabled():
            return ()
        return tuple(
            (name, self._metadata[name])
            for name in (headers.TRACE_PARENT, headers.TRACE_STATE)
            if name in self._metadata
        )

    def _leave(self) -> None:
        if self._counted:
            self._gate.running -= 1
        if self._counted_public:
            self._gate.running_public -= 1
        if self._arrival is not None and self._identified:
            self._gate.guard.left(self._arrival)
        if self._scope is not None:
            self._scope.close()
            charged = self._method is not None and self._method.cost is not None
            if charged and self._scope.lends and not self._scope.context.path:
                self._gate.close_account(self._scope)

    async def _finish(self, error: BaseException | None) -> None:
        if self._scope is None:
            self._request_id = self._request_id or new_request_id()
            known = {} if self._arrival is None else self._arrival.log_fields
            logs.call_fields.set({"request_id": self._request_id, **known, "method": self._path})
        if error is None:
            self._log("OK", None)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            late = 0 < self._deadline_s <= time.time()
            self._log("DEADLINE_EXCEEDED" if late else "CANCELLED", None)
        elif isinstance(error, grpc.aio.AbortError):
            self._log(self._context.code().name, None)
        elif self._relay and isinstance(error, grpc.aio.AioRpcError):
            await self._relay_status(error)
        else:
            await self._abort(self._service_error(error))

    def _service_error(self, error: BaseException) -> ServiceError:
        if isinstance(error, BaseExceptionGroup):
            error = _first_of(error)
        if isinstance(error, ServiceError) and error.reason is not Reason.INTERNAL:
            return error
        if isinstance(error, NotImplementedError):
            return unknown_method(self._path)
        logs.error("internal error", error)
        return ServiceError(Reason.INTERNAL, "internal error")

    async def _abort(self, error: ServiceError) -> NoReturn:
        code = grpc_code(error)
        self._log(code.name, error.reason.value)
        trailing: list[tuple[str, str | bytes]] = [
            (headers.REQUEST_ID, self._request_id),
            (headers.STATUS_DETAILS, to_status(error).SerializeToString()),
        ]
        if error.retry_after_s is not None:
            trailing.append((headers.RETRY_PUSHBACK, str(round(error.retry_after_s * 1000))))
        if self._scope is not None:
            await self._scope.settled()
            trailing += self._spent(self._scope)
        if not self._headers_sent:
            trailing += self._answer_headers()
        await self._context.abort(code, error.message, tuple(trailing))

    async def _relay_status(self, error: grpc.aio.AioRpcError) -> NoReturn:
        self._log(error.code().name, None)
        theirs = [item for item in error.trailing_metadata() or () if item[0] != headers.REQUEST_ID]
        await self._context.abort(
            error.code(),
            error.details() or "",
            (*theirs, (headers.REQUEST_ID, self._request_id), *self._answer_headers()),
        )

    def _log(self, code: str, reason: str | None) -> None:
        duration_ms = round((time.perf_counter() - self._begin_s) * 1000, 3)
        if self._method is not None and self._method.public:
            logs.debug("call", code=code, duration_ms=duration_ms)
        elif reason is None:
            logs.info("call", code=code, duration_ms=duration_ms)
        else:
            logs.info("call", code=code, reason=reason, duration_ms=duration_ms)


def unknown_method(path: str) -> ServiceError:
    """The error of a call to a method that is not there."""
    return errors.UnimplementedError(
        Reason.METHOD_UNKNOWN, f"there is no method {path[:200]} here", metadata={"method": path[:200]}
    )


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a group of concurrent ones stands for: the first ServiceError, else the first of all."""
    found: BaseException = group.subgroup(ServiceError) or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _trace_id(metadata: Metadata) -> str:
    parent = metadata.get(headers.TRACE_PARENT)
    return parent[3:35] if isinstance(parent, str) and len(parent) >= 55 else ""


def _overloaded(message: str) -> ServiceError:
    return errors.ResourceExhaustedError(Reason.OVERLOADED, message, retry_after_s=_OVERLOAD_RETRY_S)
