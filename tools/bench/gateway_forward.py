"""What the gateway costs a call: `python -m tools.bench.gateway_forward`.

One server that echoes bytes, called directly and through a gateway, in turns of half a second, so that both see the
same machine. Calls are `ModelInfer` of the Open Inference Protocol (1 KiB) and `ModelStreamInfer` (64 messages of 16
bytes back and forth). Prints a table in Markdown: rates, latencies, their ratio, and the processor time that the
gateway spent on a call.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from libs.auth.keys import Keys, create_keys
from libs.auth.tokens import sign_token
from libs.contracts import headers
from libs.parts.processes import RunningPart
from libs.parts.valkey import start_redis

UNARY = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
STREAM_MESSAGES = 64
PLANS = """
plans:
  all:
    limits:
      tenant: {minute: 100_000_000, hour: 100_000_000}
      key: {minute: 100_000_000}
      groups: {infer: {minute: 100_000_000}}
    budgets:
      tenant: {day: {tokens: 900_000_000_000}, month: {tokens: 900_000_000_000}}
      key: {day: {tokens: 900_000_000_000}}
    open_calls: 1000
default_plan: all
"""
REDIS_PASSWORD = "only-for-this"
ISSUER, AUDIENCE = "weft-local", "weft"
ROUNDS = 10
ROUND_S = 0.5

Call = Callable[[], Awaitable[Any]]


@dataclass
class Measured:
    """What one way of calling did over all rounds."""

    calls_per_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    gateway_us: list[float] = field(default_factory=list)


async def echo() -> None:
    """The server behind the gateway: bytes back, nothing else."""

    async def unary(body: bytes, context: Any) -> bytes:
        return body

    async def stream(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for body in bodies:
            yield body

    methods: dict[str, Any] = {
        UNARY: grpc.unary_unary_rpc_method_handler(unary),
        STREAM: grpc.stream_stream_rpc_method_handler(stream),
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return methods.get(handler_call_details.method)

    server = grpc.aio.server(handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "ready", "address": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


@asynccontextmanager
async def started(*command: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """A process and the address that it says it is ready at; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), env={**os.environ, **environment}, stdout=PIPE
    )
    assert process.stdout is not None
    reading = None
    try:
        while (entry := json.loads(await process.stdout.readline()))["event"] != "ready":
            pass
        reading = asyncio.create_task(process.stdout.read())
        yield process, entry["address"]
    finally:
        process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def drive(call: Call, callers: int, into: Measured, gateway: psutil.Process) -> None:
    """`callers` callers call for a round."""
    begin_s, cpu_s = time.perf_counter(), sum(gateway.cpu_times()[:2])
    latencies_ms: list[float] = []

    async def caller() -> None:
        while time.perf_counter() < begin_s + ROUND_S:
            sent_s = time.perf_counter()
            await call()
            latencies_ms.append((time.perf_counter() - sent_s) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    into.calls_per_s.append(len(latencies_ms) / (time.perf_counter() - begin_s))
    into.latencies_ms += latencies_ms
    into.gateway_us.append((sum(gateway.cpu_times()[:2]) - cpu_s) / len(latencies_ms) * 1e6)


def calls(address: str, token: str) -> tuple[grpc.aio.Channel, Call, Call]:
    """A channel to `address`, and the two calls that are measured over it."""
    channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
    metadata = ((headers.AUTHORIZATION, f"Bearer {token}"),)
    infer: Any = channel.unary_unary(UNARY)
    stream_infer: Any = channel.stream_stream(STREAM)
    body = bytes(1024)

    async def unary() -> None:
        await infer(body, metadata=metadata)

    async def stream() -> None:
        call = stream_infer(metadata=metadata)
        for _ in range(STREAM_MESSAGES):
            await call.write(body[:16])
            await call.read()
        await call.done_writing()
        await call.read()

    return channel, unary, stream


def row(name: str, direct: Measured, forwarded: Measured) -> str:
    """One line of the table."""
    rates = [statistics.median(way.calls_per_s) for way in (direct, forwarded)]
    waits = [statistics.median(way.latencies_ms) for way in (direct, forwarded)]
    ratio = statistics.median(b / a for a, b in zip(direct.calls_per_s, forwarded.calls_per_s, strict=True))
    cpu_us = statistics.median(forwarded.gateway_us)
    figures = [
        *(f"{rate:,.0f}" for rate in rates),
        f"{ratio:.2f}",
        *(f"{wait:.2f}" for wait in waits),
        f"{cpu_us:,.0f}",
    ]
    return f"| {name} | {' | '.join(figures)} |"


async def compare(direct: Sequence[Call], forwarded: Sequence[Call], gateway: psutil.Process) -> None:
    """Prints the table, and what the gateway's memory was at the end."""
    print("| what | direct calls/s | forwarded calls/s | ratio | direct p50 ms | forwarded p50 ms | gateway CPU us |")
    print("|---|---|---|---|---|---|---|")
    for name, which, callers in (
        ("unary, one caller", 0, 1),
        ("unary, 32 callers", 0, 32),
        (f"stream of {STREAM_MESSAGES}, one caller", 1, 1),
        (f"stream of {STREAM_MESSAGES}, 32 callers", 1, 32),
    ):
        ways = Measured(), Measured()
        for number in range(ROUNDS + 1):
            for call, into in zip((direct[which], forwarded[which]), ways, strict=True):
                await drive(call, callers, into if number else Measured(), gateway)
        print(row(name, *ways), flush=True)
    print(f"\nResident memory of the gateway after that: {gateway.memory_info().rss / 2**20:.0f} MiB.")


def settings_of(keys: Keys, plans: Path, behind: str, redis: RunningPart) -> dict[str, str]:
    """The environment of a gateway before `behind`."""
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(keys.jwks_file)}
    return {
        **{f"WEFT_GATEWAY_UPSTREAMS__{name}": behind for name in ("RAG", "EMBEDDING", "INFERENCE")},
        "WEFT_GATEWAY_LISTEN": "127.0.0.1:0",
        "WEFT_GATEWAY_CONTEXT_KEY_FILE": str(keys.context_key_file),
        "WEFT_GATEWAY_ISSUERS": json.dumps([issuer]),
        "WEFT_GATEWAY_PLANS_FILE": str(plans),
        "WEFT_GATEWAY_REDIS_URL": f"redis://:{REDIS_PASSWORD}@{redis.address}/0",
    }


async def main() -> None:
    """Starts both servers and Redis, and compares."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = create_keys(folder)
        plans = folder / "plans.yaml"
        plans.write_text(PLANS)
        token = sign_token(
            keys.signing_key_file.read_bytes(),
            keys.key_id,
            subject="bench",
            tenant="bench",
            scopes=["inference.infer"],
            ttl_s=3600,
            issuer=ISSUER,
            audience=AUDIENCE,
            now_s=time.time(),
        )
        redis = start_redis(folder / "redis", password=REDIS_PASSWORD, log=folder / "redis.log", fsync="everysec")
        try:
            async with (
                started("tools.bench.gateway_forward", "echo") as (_, behind),
                started("services.gateway", **settings_of(keys, plans, behind, redis)) as (process, address),
            ):
                direct_channel, *direct = calls(behind, token)
                forwarded_channel, *forwarded = calls(address, token)
                async with direct_channel, forwarded_channel:
                    await compare(direct, forwarded, psutil.Process(process.pid))
        finally:
            redis.stop()


if __name__ == "__main__":
    asyncio.run(echo() if sys.argv[1:] == ["echo"] else main())
