"""Shares of what a call may use, lent to the calls made under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc

from libs.contracts import headers

_NOT_CONNECTED = "failed to connect to all addresses"
"""What gRPC says of a call that waited for a connection in vain."""


@dataclass(frozen=True, slots=True)
class Loan:
    """A call's path, its share (tokens; None: no bound), and the headers that say both."""

    path: str
    share: int | None
    headers: tuple[tuple[str, str | bytes], ...]


class Ending(Enum):
    """How a call ended of which the service's own word did not come."""

    UNSEEN = "unseen"
    """The service may still be at work, or have been."""
    NEVER_SENT = "never sent"


async def ending_of(call: Any) -> Ending | Mapping[str, str | bytes]:
    """How a call that is done ended: the trailing metadata, where the service itself has ended it."""
    code = await call.code()
    trailers = dict(await call.trailing_metadata() or ())
    if code is grpc.StatusCode.OK or headers.REQUEST_ID in trailers:
        return trailers
    if code is grpc.StatusCode.UNAVAILABLE and never_sent(await call.details()):
        return Ending.NEVER_SENT
    return Ending.UNSEEN


def never_sent(details: str | None) -> bool:
    """Whether the details of an UNAVAILABLE say that no connection was made: the service saw nothing of the call."""
    return details is not None and _NOT_CONNECTED in details
