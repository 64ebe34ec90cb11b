"""Errors on the wire: ServiceError to google.rpc.Status and back, one ErrorInfo each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from libs.contracts import headers
from libs.errors import errors
from libs.errors.errors import FieldViolation, Kind, Reason, ServiceError
from libs.rpc.call import deadline_passed
from weft.common.v1 import error_pb2

DOMAIN = "weft"
RETRY_AFTER_S = 1.0
"""What RetryInfo says of a dependency that was not reached and did not say itself."""

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CLASSES: Mapping[int, type[ServiceError]] = {
    kind.kind.value: kind for kind in ServiceError.__subclasses__() if kind.kind is not Kind.INTERNAL
}


def grpc_code(error: ServiceError) -> grpc.StatusCode:
    """The gRPC status code of the error's kind."""
    return _GRPC_CODES[error.kind.value]


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error as a google.rpc.Status: ErrorInfo, BadRequest for field violations, RetryInfo where waiting helps."""
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)
    status = status_pb2.Status(code=error.kind.value, message=error.message)
    status.details.add().Pack(info)
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad_request)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after_s * 1000))
        status.details.add().Pack(retry)
    return status


def stream_error(failure: Exception) -> error_pb2.StreamError:
    """The failure as the last message of a stream; the call's status says the same, of an unknown one nothing else."""
    error = ServiceError(Reason.INTERNAL, "internal error")
    if isinstance(failure, ServiceError) and failure.reason is not Reason.INTERNAL:
        error = failure
    message = error_pb2.StreamError(
        code=error.kind.value,
        reason=error_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason.value}"),
        message=error.message,
        metadata=error.metadata,
    )
    if error.retry_after_s is not None:
        message.retry_delay.FromMilliseconds(round(error.retry_after_s * 1000))
    return message


def to_service_error(error: grpc.aio.AioRpcError, dependency: str) -> ServiceError:
    """What a failed call to `dependency` means for the call that made it.

    A Weft service's error keeps its kind, reason, metadata, violations and retry delay. Of others: UNAVAILABLE and
    RESOURCE_EXHAUSTED become UnavailableError (DEPENDENCY_UNAVAILABLE), DEADLINE_EXCEEDED and CANCELLED keep their
    meaning, and the rest is INTERNAL: what a foreign server says of our request is our fault, not the caller's.
    UNAVAILABLE after the running call's deadline is DEADLINE_EXCEEDED: a proxy on the way may end a call at its
    deadline before we do.
    """
    ours = service_error_of(error)
    if ours is not None:
        return ours
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or (code is grpc.StatusCode.UNAVAILABLE and deadline_passed()):
        return errors.DeadlineExceededError(Reason.DEADLINE_EXCEEDED, f"{dependency} did not answer in time")
    if code is grpc.StatusCode.CANCELLED:
        return errors.CancelledError(Reason.CANCELLED, f"the call to {dependency} was cancelled")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return errors.UnavailableError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"{dependency} cannot be reached right now; try again",
            metadata={"dependency": dependency},
            retry_after_s=RETRY_AFTER_S,
        )
    failure = ServiceError(Reason.INTERNAL, "internal error")
    failure.__cause__ = error
    return failure


def service_error_of(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """The ServiceError that a Weft service ended the call with; None when the status is not a Weft service's."""
    status = status_of(error.trailing_metadata() or ())
    return None if status is None else from_status(status)


def status_of(trailing_metadata: Sequence[tuple[str, str | bytes]] | grpc.aio.Metadata) -> status_pb2.Status | None:
    """The google.rpc.Status in trailing metadata; None where there is none that can be read."""
    for key, value in trailing_metadata:
        if key == headers.STATUS_DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def from_status(status: status_pb2.Status) -> ServiceError | None:
    """The inverse of `to_status`; None when the status is not a Weft service's."""
    info, violations, retry_after_s = _details(status.details)
    if info is None or info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    error_class = _CLASSES.get(status.code, ServiceError)
    return error_class(
        Reason(info.reason),
        status.message,
        metadata=dict(info.metadata),
        violations=violations,
        retry_after_s=retry_after_s,
    )


def _details(
    details: Sequence[any_pb2.Any],
) -> tuple[error_details_pb2.ErrorInfo | None, list[FieldViolation], float | None]:
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[FieldViolation] = []
    retry_after_s = None
    bad_request, error_info, retry = (
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
    )
    for detail in details:
        if detail.Unpack(error_info):
            info = error_info
        elif detail.Unpack(bad_request):
            violations = [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return info, violations, retry_after_s
