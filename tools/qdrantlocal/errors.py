"""What a call fails with: a gRPC status code and a text. The engine process does without the grpc package."""

import enum
import re
import sys
import traceback

MAX_TEXT = 1000  # it travels in a trailer, percent-encoded, and trailers are limited to 8 KiB
ENGINE_SAYS_INVALID = re.compile(
    r"Vector dimension|Not existing vector|Wrong input|[Bb]ad request|[Vv]alidation|not valid|[Ii]nvalid|must be"
)


class Code(enum.IntEnum):
    """The numbers of `grpc.StatusCode` that are used."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class CallError(Exception):
    """Ends a call with a status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:MAX_TEXT]


def invalid(message: str) -> CallError:
    """The request is wrong; worded as Qdrant does."""
    return CallError(Code.INVALID_ARGUMENT, f"Wrong input: {message}")


def not_found(message: str) -> CallError:
    """What is asked for is not there; worded as Qdrant does."""
    return CallError(Code.NOT_FOUND, f"Not found: {message}")


def unsupported(what: str) -> CallError:
    """Qdrant has it, this server does not; `what` is the call or the field."""
    return CallError(Code.UNIMPLEMENTED, f"{what} is not supported by the local Qdrant server")


def as_call_error(error: Exception) -> CallError:
    """The engine raises bare exceptions: only their text tells a wrong request from a fault, which is logged."""
    if isinstance(error, CallError):
        return error
    if isinstance(error, ValueError | TypeError | OverflowError) or ENGINE_SAYS_INVALID.search(str(error)):
        return invalid(str(error))
    traceback.print_exception(error, file=sys.stderr)
    return CallError(Code.INTERNAL, f"the engine failed: {error}")
