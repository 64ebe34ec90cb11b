"""What a failed call raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from libs.contracts import headers
from weft.common.v1 import error_pb2

_DOMAIN = "weft"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field of a request: its path (`question.text`) and what would be right."""

    field: str
    description: str


class CallError(Exception):
    """A call that failed.

    `code`: the gRPC status. `reason`: why, a value of `weft.common.v1.ErrorReason` without its prefix
    ("TOKEN_EXPIRED"); "" when the answer is not from a Weft service, as when none was reached. `message`: for a
    developer to read. `metadata`: as documented at the reason. `violations`: the wrong fields. `retry_after_s`: when it
    is worth trying again; None: not by waiting. `request_id`: what the service's logs know the call by.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{code.name} {reason}: {message}" if reason else f"{code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.request_id = request_id


def of_status(error: grpc.aio.AioRpcError, request_id: str) -> CallError:
    """The error of a call that ended with a status. `request_id`: what the call was sent with."""
    status = None
    for name, value in error.trailing_metadata() or ():
        if name == headers.REQUEST_ID and isinstance(value, str):
            request_id = value
        elif name == headers.STATUS_DETAILS and isinstance(value, bytes):
            status = _status(value)
    reason, metadata, violations, retry_after_s = _details(status or status_pb2.Status())
    return CallError(
        error.code(),
        reason,
        error.details() or "",
        metadata=metadata,
        violations=violations,
        retry_after_s=retry_after_s,
        request_id=request_id,
    )


def of_message(error: error_pb2.StreamError, request_id: str) -> CallError:
    """The error that a stream told in its last message."""
    return CallError(
        _CODES.get(error.code, grpc.StatusCode.UNKNOWN),
        error_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") if error.reason else "",
        error.message,
        metadata=error.metadata,
        retry_after_s=error.retry_delay.ToTimedelta().total_seconds() if error.HasField("retry_delay") else None,
        request_id=request_id,
    )


def _status(data: bytes) -> status_pb2.Status | None:
    try:
        return status_pb2.Status.FromString(data)
    except DecodeError:
        return None


def _details(status: status_pb2.Status) -> tuple[str, dict[str, str], list[FieldViolation], float | None]:
    reason, metadata, violations, retry_after_s = "", dict[str, str](), list[FieldViolation](), None
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            if info.domain == _DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations = [FieldViolation(wrong.field, wrong.description) for wrong in bad_request.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return reason, metadata, violations, retry_after_s
