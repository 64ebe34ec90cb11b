"""Failures as a stream's last message tells them."""

from __future__ import annotations

from libs.errors.errors import Reason, ServiceError, UnavailableError
from libs.rpc.status import stream_error
from weft.common.v1 import error_pb2


def test_a_known_failure_is_told_whole() -> None:
    """Code, reason, words, metadata and retry delay are those of the error."""
    error = stream_error(
        UnavailableError(Reason.MODEL_UNAVAILABLE, "m: died", metadata={"model": "m"}, retry_after_s=1.5)
    )
    assert (error.code, error.reason) == (14, error_pb2.ERROR_REASON_MODEL_UNAVAILABLE)
    assert (error.message, dict(error.metadata)) == ("m: died", {"model": "m"})
    assert error.retry_delay.ToTimedelta().total_seconds() == 1.5


def test_an_unknown_failure_tells_nothing() -> None:
    """Neither an exception's words nor those of an internal error reach the caller."""
    for failure in (ValueError("secret"), ServiceError(Reason.INTERNAL, "secret", metadata={"secret": "x"})):
        error = stream_error(failure)
        assert (error.code, error.reason) == (13, error_pb2.ERROR_REASON_INTERNAL)
        assert (error.message, dict(error.metadata)) == ("internal error", {})
