"""The gRPC front: passes the bytes of every call to the engine process and its bytes back. It knows no message."""

import asyncio
import hmac
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from tools.qdrantlocal.engine_link import HOPELESS, EngineLink
from tools.qdrantlocal.errors import Code

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse
MAX_REQUEST_BYTES = 32 << 20  # Qdrant's own default
STOP_GRACE_S = 5.0
STATUS = {status.value[0]: status for status in grpc.StatusCode}
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Of one client 256 calls are under way, more wait at the client. Without the other two gRPC itself drops bursts of
    # calls, with CANCELLED or a reset stream: here the engine's bound decides, and says so.
    ("grpc.max_concurrent_streams", 256),
    ("grpc.http.overload_protection", 0),
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.so_reuseport", 0),
]

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


class Front(grpc.GenericRpcHandler):
    """Answers health checks; asks for the API key, if there is one, on all else."""

    def __init__(self, engine: EngineLink, api_key: str) -> None:
        self._engine = engine
        self._api_key = api_key.encode()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method: str = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(self._health if method == HEALTH_CHECK else self._passing(method))

    async def _health(self, body: bytes, context: Context) -> bytes:
        if body:
            await context.abort(grpc.StatusCode.NOT_FOUND, "only the empty service name, this server, has a health")
        return SERVING if self._engine.ready.is_set() else NOT_SERVING

    def _passing(self, method: str) -> Handler:
        async def handle(body: bytes, context: Context) -> bytes:
            if self._api_key:
                await self._check_key(context)
            remaining_s = context.time_remaining()
            deadline_s = 0.0 if remaining_s is None else time.monotonic() + remaining_s
            reply = await self._engine.call(method, body, deadline_s)
            if reply.code != Code.OK:
                await context.abort(STATUS[reply.code], reply.body.decode())
            return reply.body

        return handle

    async def _check_key(self, context: Context) -> None:
        given = next((value for name, value in context.invocation_metadata() or () if name == "api-key"), "")
        if not hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._api_key):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key: metadata api-key")


async def serve(data_dir: str, port: int, api_key: str) -> int:
    """Serves until SIGTERM or SIGINT; prints `ready PORT` when it does. Answers the exit code."""
    engine = EngineLink(data_dir)
    server = grpc.aio.server(handlers=[Front(engine, api_key)], options=OPTIONS)
    try:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        print(f"port {port} is taken: stop what listens there, or choose another --port", file=sys.stderr)
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await engine.start()
    started, stopped = asyncio.create_task(engine.ready.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait((started, stopped, engine.ended), return_when=asyncio.FIRST_COMPLETED)
    if started.done():
        await server.start()
        print("ready", port, flush=True)
        await asyncio.wait((stopped, engine.ended), return_when=asyncio.FIRST_COMPLETED)
        await server.stop(STOP_GRACE_S)
    await engine.stop()
    if not engine.ended.done():
        return 0
    exit_code = engine.ended.result()
    return exit_code if exit_code in HOPELESS else 1
