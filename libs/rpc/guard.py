"""Who may call: turns a call's headers into its context, or refuses it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from libs.auth.context import CallContext, refused, unseal
from libs.contracts import headers
from libs.contracts.policies import Method
from libs.rpc.call import Metadata


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may run: its context, and the same sealed, as it goes on to inner calls."""

    context: CallContext
    sealed: bytes


class Guard(Protocol):
    """Admits a call or raises a ServiceError. Not asked for public methods.

    `deadline_s` (Unix time) is the caller's deadline, or the method's default where it set none, cut to its maximum.
    """

    async def __call__(self, method: Method, metadata: Metadata, deadline_s: float) -> Admitted: ...


class SignedContextGuard:
    """Admits calls with a valid signed context, and no others. For every service behind the gateway."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def __call__(self, method: Method, metadata: Metadata, deadline_s: float) -> Admitted:
        sealed = metadata.get(headers.CONTEXT)
        if not isinstance(sealed, bytes):
            raise refused("there is none")
        return Admitted(unseal(sealed, self._key, time.time()), sealed)
