"""The ways in which a call can fail, without a word about gRPC: the domain raises them, one place translates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import ClassVar


class Kind(Enum):
    """The kinds of failure that callers tell apart; the values are google.rpc.Code numbers."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Reason(StrEnum):
    """`weft.common.v1.ErrorReason` without its prefix; the contract says what each means and which metadata it has."""

    INTERNAL = "INTERNAL"
    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_MALFORMED = "TOKEN_MALFORMED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    TOKEN_REFUSED = "TOKEN_REFUSED"
    SCOPE_MISSING = "SCOPE_MISSING"
    METHOD_REFUSED = "METHOD_REFUSED"
    METHOD_UNKNOWN = "METHOD_UNKNOWN"
    CONTEXT_REFUSED = "CONTEXT_REFUSED"
    MESSAGE_MALFORMED = "MESSAGE_MALFORMED"
    FIELD_INVALID = "FIELD_INVALID"
    HEADER_INVALID = "HEADER_INVALID"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    COLLECTION_EXISTS = "COLLECTION_EXISTS"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    DOCUMENT_UNREADABLE = "DOCUMENT_UNREADABLE"
    WRITE_CONFLICT = "WRITE_CONFLICT"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    PROMPT_TOO_LONG = "PROMPT_TOO_LONG"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    SHARED_MEMORY_REFUSED = "SHARED_MEMORY_REFUSED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"
    RATE_LIMITED = "RATE_LIMITED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    TENANT_UNKNOWN = "TENANT_UNKNOWN"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    PLAN_UNKNOWN = "PLAN_UNKNOWN"


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field of a request: its path (`texts[3]`, `prompt.messages`) and what would be right."""

    field: str
    description: str


class ServiceError(Exception):
    """A failure that the caller is told of. `message` is for a developer, and says the remedy where there is one.

    `retry_after_s`: seconds after which another attempt is worth it; None where waiting alone does not help.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s


class CancelledError(ServiceError):
    """The caller left. Not asyncio's: that one is never caught for good."""

    kind = Kind.CANCELLED


class InvalidArgumentError(ServiceError):
    """The request can never succeed as it is."""

    kind = Kind.INVALID_ARGUMENT


class DeadlineExceededError(ServiceError):
    """The deadline passed before the work was done."""

    kind = Kind.DEADLINE_EXCEEDED


class NotFoundError(ServiceError):
    """What the request names is not there, or not the caller's."""

    kind = Kind.NOT_FOUND


class AlreadyExistsError(ServiceError):
    """What the request would make is there."""

    kind = Kind.ALREADY_EXISTS


class PermissionDeniedError(ServiceError):
    """The caller is known and may not."""

    kind = Kind.PERMISSION_DENIED


class ResourceExhaustedError(ServiceError):
    """A limit was met."""

    kind = Kind.RESOURCE_EXHAUSTED


class AbortedError(ServiceError):
    """A concurrent change won; nothing was changed."""

    kind = Kind.ABORTED


class UnimplementedError(ServiceError):
    """There is no such method."""

    kind = Kind.UNIMPLEMENTED


class UnavailableError(ServiceError):
    """A dependency cannot be reached, or cannot serve right now."""

    kind = Kind.UNAVAILABLE


class UnauthenticatedError(ServiceError):
    """The caller is not known."""

    kind = Kind.UNAUTHENTICATED


def invalid_field(field: str, description: str) -> InvalidArgumentError:
    """The error of one field that is out of bounds."""
    return InvalidArgumentError(
        Reason.FIELD_INVALID, f"{field}: {description}", violations=[FieldViolation(field, description)]
    )
