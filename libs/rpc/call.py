"""The running call: whose it is, how long it may take, what it may use, and what it has open elsewhere."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.contracts.policies import Cost
from libs.ledger.accounts import Accounts
from libs.rpc.loans import Ending, Loan, ending_of

Metadata = Mapping[str, str | bytes]
"""A call's headers; see `headers_of`."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class CallScope:
    """What a call carries to the calls that it makes. They end with it: `close` cancels those that are still open.

    `sealed` is the signed context, `deadline_s` is Unix time. With `key`, each call made under this one gets a context
    of its own, with a share of what this one may use; without, `sealed` goes on as it is (the gateway's way).
    """

    __slots__ = (
        "_key",
        "_lent",
        "_made",
        "_onward",
        "_open",
        "_settling",
        "accounts",
        "allowance_tokens",
        "context",
        "deadline_s",
        "is_told",
        "sealed",
        "stamps",
        "unseen",
        "used_tokens",
    )

    def __init__(
        self,
        context: CallContext,
        sealed: bytes,
        deadline_s: float,
        trace: tuple[tuple[str, str | bytes], ...] = (),
        *,
        key: bytes | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        self.context = context
        self.sealed = sealed
        self.deadline_s = deadline_s
        self.accounts = accounts
        self.allowance_tokens = context.allowance_tokens
        self.used_tokens = 0
        self.is_told = True
        """Whether the ledger has written down every execution that has ended here."""
        self.unseen: list[str] = []
        self.stamps = Stamps()
        self._key = key
        self._made = 0
        self._onward: tuple[tuple[str, str | bytes], ...] = (
            (headers.REQUEST_ID, context.request_id),
            (headers.CALL_PRIORITY, context.priority),
            *trace,
        )
        self._open: dict[int, Callable[[], object]] = {}
        self._lent: set[asyncio.Future[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def lends(self) -> bool:
        """Whether this is a call of a service behind the gateway."""
        return self._key is not None

    def lend(self, cost: Cost | None, request: Any) -> Loan:
        """What goes on with a call of a method with this cost: its headers, and its share of what may be used."""
        if self._key is None:
            return Loan("", None, ((headers.CONTEXT, self.sealed), *self._onward))
        self._made += 1
        path = f"{self.context.path}.{self._made}" if self.context.path else str(self._made)
        share = None
        if self.allowance_tokens is not None and cost is not None and not cost.bytes_per_token:
            share = min(self.allowance_tokens, _worst(cost, request, self.context.max_output_tokens))
            self.allowance_tokens -= share
        context = dataclasses.replace(self.context, path=path, allowance_tokens=share)
        return Loan(path, share, ((headers.CONTEXT, seal(context, self._key)), *self._onward))

    def opened(self, call: Any) -> None:
        """The call is cancelled when this one ends, unless it ended before."""
        self._open[id(call)] = call.cancel
        call.add_done_callback(self._closed)

    def settle_at_end(self, call: Any, loan: Loan) -> None:
        """When the call ends, what it did not use of its share is free again."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        self._lent.add(over)

        def settled(_: object) -> None:
            over.set_result(None)
            self._lent.discard(over)

        def ended(_: object) -> None:
            task = loop.create_task(self._settle(call, loan))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
            task.add_done_callback(settled)

        call.add_done_callback(ended)

    async def settled(self) -> None:
        """Returns when all that is known of the calls that have ended is counted."""
        while self._settling:
            await asyncio.wait(self._settling)

    async def all_settled(self) -> None:
        """Returns when every call made under this one has ended, and all that is known of it is counted. After `close`
        that is soon."""
        while self._lent:
            await asyncio.wait(self._lent)

    def close(self) -> None:
        """Cancels what is still open."""
        open_calls, self._open = self._open, {}
        for cancel in open_calls.values():
            cancel()

    def _closed(self, call: object) -> None:
        self._open.pop(id(call), None)

    async def _settle(self, call: Any, loan: Loan) -> None:
        ending = await ending_of(call)
        if ending is Ending.UNSEEN:
            self.unseen.append(loan.path)
        elif isinstance(ending, Ending):
            self._give_back(loan, 0)
        elif headers.USED not in ending:
            self.unseen.append(loan.path)  # The service says nothing of it until the ledger was told.
        else:
            used = int(ending[headers.USED])
            self.used_tokens += used
            self._give_back(loan, used)
            self.stamps.merge(str(ending.get(headers.DEPENDS, "")))

    def _give_back(self, loan: Loan, used: int) -> None:
        if loan.share is not None and self.allowance_tokens is not None:
            self.allowance_tokens += max(0, loan.share - used)


class Stamps:
    """What a good answer depends on. It says so itself, and its inner calls say theirs; if two contradict each other,
    something changed meanwhile, and nothing is said."""

    __slots__ = ("_inner", "_own", "_torn")

    def __init__(self) -> None:
        self._own: dict[str, str] | None = None
        self._inner: dict[str, str] = {}
        self._torn = False

    def add(self, stamps: Mapping[str, str]) -> None:
        """Stamps of the service's own, by their names."""
        own = self._own or {}
        self._torn = self._torn or any(own.get(name, value) != value for name, value in stamps.items())
        self._own = {**own, **stamps}

    def merge(self, said: str) -> None:
        """What an inner call said, as it is on the wire."""
        for item in said.split():
            name, _, value = item.rpartition("=")
            self._torn = self._torn or self._inner.get(name, value) != value
            self._inner[name] = value

    @property
    def header(self) -> str:
        """For the wire; "" where the service did not say that its answer may be kept."""
        if self._own is None or self._torn or any(self._inner.get(n, v) != v for n, v in self._own.items()):
            return ""
        return " ".join(f"{name}={value}" for name, value in sorted((self._inner | self._own).items()))


running_scope: ContextVar[CallScope] = ContextVar("running_scope")


def current_call() -> CallContext:
    """The context of the running call. Raises RuntimeError where none is running."""
    return running().context


def remaining_s() -> float:
    """Seconds until the running call's deadline, at least 0. Raises RuntimeError where no call is running."""
    return max(0.0, running().deadline_s - time.time())


def deadline_passed() -> bool:
    """Whether a call is running whose deadline has passed. What a proxy on the way then ends as UNAVAILABLE, its timer
    being faster than ours, says nothing of who was called."""
    scope = running_scope.get(None)
    return scope is not None and scope.deadline_s <= time.time()


def depends(stamps: Mapping[str, str]) -> None:
    """Lets the good answer of the running call be kept, as long as these stamps and those that its inner calls name are
    what they are: `{"collection/guides": "17"}`, read before the work. Raises RuntimeError where no call is running."""
    running().stamps.add(stamps)


def running() -> CallScope:
    """The scope of the running call. Raises RuntimeError where none is running."""
    try:
        return running_scope.get()
    except LookupError:
        raise RuntimeError("no call is running: this is for code under a servicer's method") from None


def headers_of(sent: Sequence[tuple[str, str | bytes]]) -> Metadata:
    """Headers by their names. Texts of a name that came twice are one, with a comma between (RFC 9110, section 5.3); of
    bytes the last is taken."""
    found: dict[str, str | bytes] = dict(sent)
    if len(found) < len(sent):
        for name in found:
            texts = [value for known, value in sent if known == name and isinstance(value, str)]
            if len(texts) > 1:
                found[name] = ", ".join(texts)
    return found


def request_id_of(metadata: Metadata) -> str | None:
    """The caller's own request id, 1 to 128 printable ASCII characters without spaces; None where it sent none such."""
    value = metadata.get(headers.REQUEST_ID)
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def new_request_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def _worst(cost: Cost, request: Any, max_output_tokens: int) -> int:
    size = len(request) if isinstance(request, bytes) else request.ByteSize() if request is not None else 0
    output = min(max_output_tokens, cost.output_tokens) if max_output_tokens else cost.output_tokens
    return cost.most_input_tokens(size) + output
