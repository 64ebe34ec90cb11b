"""Channels between Weft's services: what the running call carries goes on with every call made under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from libs.contracts.policies import methods
from libs.rpc.call import CallScope, running_scope
from libs.telemetry import traces

MAX_MESSAGE_BYTES = 64 << 20

_OPTIONS: tuple[tuple[str, Any], ...] = (
    # The outer hop's client is the only owner of retries.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that comes back after a restart is dialled soon, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

ScopeSource = Callable[[], CallScope | None]


def channel(address: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """A plain channel to `address` (host:port) whose calls carry the running call's request id, trace and signed
    context, in which each has a share of what the running call may use.

    They end no later than its deadline, and are cancelled when it ends. Outside of a call nothing is added.
    A message has at most 64 MiB. No retries.
    """
    return carrying(address, lambda: running_scope.get(None), options)


def carrying(address: str, scope_of: ScopeSource, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """As `channel`, with the scope that `scope_of` returns in place of the running one."""
    inner = grpc.aio.insecure_channel(address, options=(*_OPTIONS, *options), interceptors=traces.client_interceptors())
    return _CarryingChannel(inner, scope_of)


class _CarryingChannel(grpc.aio.Channel):
    """Wraps the callables rather than intercepting calls: an interceptor makes each grpc.aio call a task of its own."""

    def __init__(self, inner: grpc.aio.Channel, scope_of: ScopeSource) -> None:
        self._inner = inner
        self._scope_of = scope_of

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Carrying(self._inner.unary_unary(method, *args, **kwargs), method, self._scope_of)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Carrying(self._inner.unary_stream(method, *args, **kwargs), method, self._scope_of)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Carrying(self._inner.stream_unary(method, *args, **kwargs), method, self._scope_of)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Carrying(self._inner.stream_stream(method, *args, **kwargs), method, self._scope_of)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> _CarryingChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Carrying:
    """A multi-callable that adds what the scope carries."""

    __slots__ = ("_cost", "_inner", "_scope_of")

    def __init__(self, inner: Callable[..., Any], path: str, scope_of: ScopeSource) -> None:
        method = methods().get(path)
        self._inner = inner
        self._cost = None if method is None else method.cost
        self._scope_of = scope_of

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str | bytes]] | None = None,
        **kwargs: Any,
    ) -> Any:
        scope = self._scope_of()
        if scope is None:
            return self._inner(request, timeout=timeout, metadata=metadata, **kwargs)
        remaining_s = max(0.0, scope.deadline_s - time.time())
        loan = scope.lend(self._cost, request)
        call = self._inner(
            request,
            timeout=remaining_s if timeout is None else min(timeout, remaining_s),
            metadata=(*(metadata or ()), *loan.headers),
            **kwargs,
        )
        scope.opened(call)
        if loan.path and self._cost is not None and not self._cost.bytes_per_token:
            scope.settle_at_end(call, loan)
        return call
