"""Who may call: turns a call's headers into its context, or refuses it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from libs.auth.context import MARGIN_S, CallContext, refused, unseal
from libs.contracts import headers
from libs.contracts.policies import Method, methods
from libs.rpc.call import Metadata


class Arrival:
    """A call as it comes in. `deadline_s` (Unix time) is the caller's, or the method's default where it set none, cut
    to its maximum. `body` is the request once it is read; None before, and where the caller streams.

    A guard may add `answer_headers`, which go on the answer, good or bad, and `log_fields`.
    """

    __slots__ = ("answer_headers", "body", "deadline_s", "log_fields", "metadata", "method")

    def __init__(self, method: Method, metadata: Metadata, deadline_s: float) -> None:
        self.method = method
        self.metadata = metadata
        self.deadline_s = deadline_s
        self.body: bytes | None = None
        self.answer_headers: list[tuple[str, str]] = []
        self.log_fields: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may run: its context, and the same sealed. `key` signs the contexts of the calls made under it; None:
    the sealed one goes on as it is."""

    context: CallContext
    sealed: bytes
    key: bytes | None = None


class Guard(Protocol):
    """Admits a call or raises a ServiceError. Not asked for public methods."""

    async def identify(self, arrival: Arrival) -> Admitted | None:
        """Before the body is read: who calls. None: `admit` decides."""
        ...

    async def admit(self, arrival: Arrival) -> Admitted:
        """With the body, where there is one; only after `identify` returned None."""
        ...

    def left(self, arrival: Arrival) -> None:
        """A call that was identified is over, however it ended."""
        ...


@cache
def _longest_call_s() -> float:
    return max(method.max_timeout_s for method in methods().values() if not method.public)


class SignedContextGuard:
    """Admits calls with a valid signed context, and no others. For every service behind the gateway.

    A context vouches for whoever sends it, as often as it is sent, until its deadline: it never leaves the services,
    and mutual TLS is what keeps others from them.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def identify(self, arrival: Arrival) -> Admitted:
        sealed = arrival.metadata.get(headers.CONTEXT)
        if not isinstance(sealed, bytes):
            raise refused("there is none")
        now_s = time.time()
        context = unseal(sealed, self._key, now_s)
        if context.deadline_s > now_s + _longest_call_s() + MARGIN_S:
            raise refused("no call takes so long")
        return Admitted(context, sealed, self._key)

    async def admit(self, arrival: Arrival) -> Admitted:
        raise AssertionError("a signed context says all")

    def left(self, arrival: Arrival) -> None:
        """There is nothing to give back."""
