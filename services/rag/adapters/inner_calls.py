"""What the ends of calls to other services mean for the running one."""

from __future__ import annotations

from typing import Any

import grpc

from libs.contracts import headers
from libs.errors.errors import DeadlineExceededError, Reason, ServiceError, UnavailableError
from libs.rpc.call import remaining_s
from libs.rpc.status import RETRY_AFTER_S, to_service_error

_STILL_TIME_S = 0.5
"""With more time left than that, it was not the running call's own deadline that passed."""


async def is_stamped(call: Any) -> bool:
    """Whether the service has said on which version of its model the answer depends; of a call that ended well.
    libs.rpc has collected then what was said."""
    return any(name == headers.DEPENDS for name, _ in await call.trailing_metadata() or ())


def failure_of(error: grpc.aio.AioRpcError, dependency: str) -> ServiceError:
    """The error of a call that failed. A service that is late while there is still time is away: something behind it
    does not answer."""
    failure = to_service_error(error, dependency)
    if not isinstance(failure, DeadlineExceededError) or remaining_s() <= _STILL_TIME_S:
        return failure
    return away(dependency, f"{dependency} did not answer in time ({failure.message}); try again")


def away(dependency: str, message: str, retry_after_s: float | None = None) -> UnavailableError:
    """The error of a service that cannot do its work right now."""
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE,
        message,
        metadata={"dependency": dependency},
        retry_after_s=retry_after_s or RETRY_AFTER_S,
    )
