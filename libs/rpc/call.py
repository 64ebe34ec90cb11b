"""The running call: whose it is, how long it may take, and what it has open elsewhere."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from libs.auth.context import CallContext
from libs.contracts import headers

Metadata = Mapping[str, str | bytes]
"""A call's headers; of a name that came twice, the last value."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class CallScope:
    """What a call carries to the calls that it makes. They end with it: `close` cancels those that are still open.

    `sealed` is the signed context as it goes on, `deadline_s` is Unix time, `onward` are the headers of the calls made
    under it.
    """

    __slots__ = ("_open", "context", "deadline_s", "onward", "sealed")

    def __init__(
        self, context: CallContext, sealed: bytes, deadline_s: float, trace: tuple[tuple[str, str | bytes], ...] = ()
    ) -> None:
        self.context = context
        self.sealed = sealed
        self.deadline_s = deadline_s
        self.onward: tuple[tuple[str, str | bytes], ...] = (
            (headers.CONTEXT, sealed),
            (headers.REQUEST_ID, context.request_id),
            *trace,
        )
        self._open: dict[int, Callable[[], object]] = {}

    def opened(self, call: object, cancel: Callable[[], object]) -> None:
        """`cancel` is called when this call ends, unless `closed` was told before."""
        self._open[id(call)] = cancel

    def closed(self, call: object) -> None:
        """The call made under this one is over."""
        self._open.pop(id(call), None)

    def close(self) -> None:
        """Cancels what is still open."""
        open_calls, self._open = self._open, {}
        for cancel in open_calls.values():
            cancel()


running_scope: ContextVar[CallScope] = ContextVar("running_scope")


def current_call() -> CallContext:
    """The context of the running call. Raises RuntimeError where none is running."""
    return _running().context


def remaining_s() -> float:
    """Seconds until the running call's deadline, at least 0. Raises RuntimeError where no call is running."""
    return max(0.0, _running().deadline_s - time.time())


def request_id_of(metadata: Metadata) -> str | None:
    """The caller's own request id, 1 to 128 printable ASCII characters without spaces; None where it sent none such."""
    value = metadata.get(headers.REQUEST_ID)
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def new_request_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def _running() -> CallScope:
    try:
        return running_scope.get()
    except LookupError:
        raise RuntimeError("no call is running: this is for code under a servicer's method") from None
