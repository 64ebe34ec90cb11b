"""Real in-process servers and callers for tests of servicers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.ledger.accounts import Accounts, Execution
from libs.rpc.call import CallScope, new_request_id, running_scope
from libs.rpc.channel import carrying
from libs.rpc.guard import Admitted, Arrival
from libs.rpc.server import Component, running

KEY = bytes(range(32))
"""The context key of all tests."""


@dataclass(frozen=True)
class Served:
    """A server that answers at `address` and believes contexts sealed with `key`."""

    address: str
    key: bytes


@asynccontextmanager
async def serving(component: Component, *, key: bytes = KEY, grace_s: float = 0.0) -> AsyncIterator[Served]:
    """Serves `component` on an ephemeral loopback port while entered."""
    async with running(component, "127.0.0.1:0", key, grace_s) as server:
        yield Served(server.address, key)


@asynccontextmanager
async def calling(
    served: Served,
    tenant: str = "acme",
    *,
    principal: str = "alice",
    priority: str = "normal",
    timeout_s: float = 30.0,
    request_id: str | None = None,
    max_output_tokens: int = 0,
    allowance_tokens: int | None = None,
    may_fall_back: bool = False,
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel whose calls come from the gateway, as it were: each has a fresh signed context of `tenant`."""

    def scope() -> CallScope:
        deadline_s = time.time() + timeout_s
        context = CallContext(
            tenant,
            principal,
            new_request_id(),
            request_id or new_request_id(),
            priority,
            deadline_s,
            max_output_tokens,
            allowance_tokens,
            may_fall_back=may_fall_back,
        )
        return CallScope(context, seal(context, served.key), deadline_s)

    async with carrying(served.address, scope) as channel:
        yield channel


def raw_unary(channel: grpc.aio.Channel, path: str) -> Any:
    """The unary method at `path` over bytes."""
    return channel.unary_unary(path)


def raw_stream(channel: grpc.aio.Channel, path: str) -> Any:
    """The bidirectional method at `path` over bytes."""
    return channel.stream_stream(path)


@asynccontextmanager
async def running_call(
    tenant: str = "acme",
    *,
    timeout_s: float = 30.0,
    key: bytes = KEY,
    allowance_tokens: int | None = None,
    accounts: Accounts | None = None,
) -> AsyncIterator[CallScope]:
    """The code inside runs as under a servicer's method: `current_call()` and `remaining_s()` answer."""
    deadline_s = time.time() + timeout_s
    context = CallContext(
        tenant,
        "alice",
        new_request_id(),
        new_request_id(),
        "normal",
        deadline_s,
        allowance_tokens=allowance_tokens,
    )
    scope = CallScope(context, seal(context, key), deadline_s, key=key, accounts=accounts)
    token = running_scope.set(scope)
    try:
        yield scope
    finally:
        scope.close()
        running_scope.reset(token)


class KeptAccounts:
    """A ledger that only remembers what it was told, in the order in which it was. `reached` is what it says of it."""

    def __init__(self, *, reached: bool = True) -> None:
        self.reached = reached
        self.begun: list[str] = []
        self.executions: list[tuple[CallContext, Execution]] = []
        self.closed: list[tuple[CallContext, tuple[str, ...]]] = []

    def begin(self, call: CallContext, execution_id: str) -> None:
        self.begun.append(execution_id)

    async def record(self, call: CallContext, execution: Execution) -> bool:
        self.executions.append((call, execution))
        return self.reached

    async def close(self, call: CallContext, unseen: Sequence[str]) -> None:
        self.closed.append((call, tuple(unseen)))


class Everybody:
    """A guard that admits every call, for the tenant "acme"."""

    async def identify(self, arrival: Arrival) -> Admitted:
        request_id = str(arrival.metadata.get(headers.REQUEST_ID, "r-1"))
        return Admitted(CallContext("acme", "alice", "c-1", request_id, "normal", arrival.deadline_s), b"")

    async def admit(self, arrival: Arrival) -> Admitted:
        raise AssertionError("identify admits")

    def left(self, arrival: Arrival) -> None:
        """Nothing is kept of it."""
