"""One service's server: what it serves, how it starts, how it ends."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from libs.auth.context import read_context_key
from libs.config.settings import ServiceSettings
from libs.ledger.accounts import Accounts
from libs.rpc.beside import beside
from libs.rpc.channel import MAX_MESSAGE_BYTES as TRANSPORT_LIMIT_BYTES
from libs.rpc.executions import recorded
from libs.rpc.gate import Gate
from libs.rpc.guard import Guard, SignedContextGuard
from libs.rpc.handlers import Passthrough, Routes
from libs.rpc.health import Check, Health
from libs.rpc.reflection import add_reflection
from libs.telemetry import logs, metrics, traces

MAX_HEADER_BYTES = 32 << 10
"""All headers of a call together; gRPC itself refuses more."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Above what is taken: up to here a message that is too large gets an answer with a reason, beyond gRPC's own.
    ("grpc.max_receive_message_length", 2 * TRANSPORT_LIMIT_BYTES),
    ("grpc.so_reuseport", 0),
    # A provider's tokens can be long. By default gRPC refuses headers over 8 KiB now and then, over 16 KiB always.
    ("grpc.max_metadata_size", MAX_HEADER_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
    # Clients with long streams ping; without this the server calls it "too many pings" and hangs up.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class ListenError(Exception):
    """The address to listen on cannot be had; the message says which."""


@dataclass(frozen=True)
class Component:
    """What a service serves.

    `servicers`: pairs of a generated `add_XServicer_to_server` and its servicer, whose methods are `async def` (async
    generators where they stream). `passthrough`: methods over bytes, by path "/package.Service/Method". `checks`: by a
    service's full name, what it cannot work without; each returns or raises. `reflected`: further services that
    reflection lists. `guard`: who may call; None is the signed context. `accounts`: where it is written what calls use.
    """

    servicers: Sequence[tuple[Callable[[Any, Any], None], object]] = ()
    checks: Mapping[str, Sequence[Check]] = field(default_factory=dict)
    passthrough: Mapping[str, Passthrough] = field(default_factory=dict)
    reflected: Iterable[str] = ()
    guard: Guard | None = None
    accounts: Accounts | None = None
    max_message_bytes: int = 4 << 20
    max_passthrough_bytes: int = TRANSPORT_LIMIT_BYTES
    max_calls: int = 1000


@dataclass(frozen=True)
class Running:
    """A server that answers. `address` is host:port."""

    address: str
    health: Health


@asynccontextmanager
async def running(component: Component, listen: str, key: bytes, grace_s: float = 0.0) -> AsyncIterator[Running]:
    """Serves `component` at `listen` (port 0: any) while entered; then calls in flight have `grace_s` to end.

    Raises ListenError when the address cannot be had.
    """
    guard = component.guard or SignedContextGuard(key)
    gate = Gate(guard, component.max_calls, answers_callers=component.guard is not None, accounts=component.accounts)
    routes = Routes(gate, component.max_message_bytes)
    for add, servicer in component.servicers:
        add(servicer, routes)
    for path, behaviour in component.passthrough.items():
        routes.add_passthrough(path, behaviour, component.max_passthrough_bytes)
    health = Health(routes.services, component.checks)
    health_pb2_grpc.add_HealthServicer_to_server(health, routes)  # type: ignore[arg-type]
    add_reflection({*routes.services, *component.reflected}, routes)
    server = grpc.aio.server(handlers=[routes], interceptors=traces.server_interceptors(), options=_OPTIONS)
    address = _bind(server, listen)
    await server.start()
    async with beside(health.poll()):
        try:
            yield Running(address, health)
        finally:
            await server.stop(grace_s)
            await recorded()
            await gate.accounts_closed()


async def serve(
    name: str, settings: ServiceSettings, build: Callable[[], AbstractAsyncContextManager[Component]]
) -> None:
    """Runs one service until SIGTERM or SIGINT.

    Then: health says NOT_SERVING, `drain_s` passes so that callers see it, calls in flight have `grace_s` to end while
    no new ones are taken, what `build` opened closes, telemetry is flushed.
    """
    logs.configure(name, settings.log_level)
    traces.configure(name, settings.otlp_endpoint)
    ready, stop = asyncio.Event(), _stop_signal()
    starting = asyncio.create_task(_end_start(stop, ready, asyncio.current_task()))
    try:
        key = read_context_key(settings.context_key_file)
        async with (
            _metrics(settings.metrics_listen),
            build() as component,
            running(component, settings.listen, key, settings.grace_s) as server,
        ):
            gc.collect()
            gc.freeze()
            ready.set()
            logs.info("ready", address=server.address)
            logs.flush()
            await stop.wait()
            logs.info("stopping", grace_s=settings.grace_s)
            server.health.stop()
            await asyncio.sleep(settings.drain_s)
        logs.info("stopped")
    except asyncio.CancelledError:
        if ready.is_set() or not stop.is_set():
            raise
        logs.info("stopped")
    finally:
        starting.cancel()
        await traces.shutdown()
        logs.flush()


@asynccontextmanager
async def _metrics(listen: str) -> AsyncIterator[None]:
    with metrics.serve(listen) as address:
        if address:
            logs.info("metrics", address=address)
        yield


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _end_start(stop: asyncio.Event, ready: asyncio.Event, serving: asyncio.Task[None] | None) -> None:
    """A service that is stopped before it is ready need not become ready first."""
    await stop.wait()
    if serving is not None and not ready.is_set():
        serving.cancel()


def _bind(server: grpc.aio.Server, listen: str) -> str:
    host, _, _ = listen.rpartition(":")
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        raise ListenError(f"cannot listen on {listen}: is the port taken? LISTEN sets another") from None
    return f"{host}:{port}"
