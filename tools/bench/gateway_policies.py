"""What the gateway costs a call with all its policies on: `python -m tools.bench.gateway_policies`.

The same answers four ways, in turns of half a second, so that all see the same machine: from a grpc.aio server
directly; through a forwarder that passes bytes and does nothing else, which is the least that Python in the path can
cost; through the gateway, with a verified token, rate limits of tenant, key and group, budgets in tokens and money by
day and month, a real Redis, and a service of Weft's behind it that tells the ledger what it used; and from the
gateway's kept answers. Then the gateway's memory, and Redis', after so many calls. `--against FOLDER` adds the gateway
and the service of another checkout. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from libs.auth.keys import Keys, create_keys
from libs.auth.tokens import sign_token
from libs.contracts import headers
from libs.ledger.keys import LedgerKeys
from libs.parts.processes import RunningPart
from libs.parts.valkey import Fsync, start_redis
from libs.store.redis import connect
from libs.store.stamps import MODELS
from tools.bench.callers import CallersProcess, Order, callers
from tools.bench.growth import a_call, growth_head, growth_row
from tools.bench.peers import EMBED, GENERATE, STAMPS, STREAM
from tools.bench.started import started, started_of
from tools.bench.ways import Measured, Way, ratios, turn
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.embedding.v1.embedding_service_pb2 import EmbedRequest
from weft.inference.v1.generation_service_pb2 import GenerateRequest, Prompt

PASSWORD = "only-for-the-bench"
ISSUER, AUDIENCE, TENANT = "weft-local", "weft", "bench"
ROUND_S = 0.5
TEXT = "What is written in the third paragraph of the report on the harbour? " * 3
PROMPT = GenerateRequest(prompt=Prompt(messages=[ChatMessage(role=CHAT_ROLE_USER, content=TEXT)]))
PLANS = """\
prices:
  generate: {input: 0.20, output: 0.60}
  embed: {input: 0.02}
  other: {input: 1.00, output: 3.00}
plans:
  bench:
    limits:
      tenant: {minute: 100_000_000, hour: 100_000_000}
      key: {minute: 100_000_000, hour: 100_000_000}
      groups: {generate: {minute: 100_000_000}, embed: {minute: 100_000_000}}
    budgets:
      tenant: {day: {tokens: 900_000_000_000, money: 900000}, month: {tokens: 900_000_000_000, money: 900000}}
      key: {day: {tokens: 900_000_000_000, money: 900000}, month: {tokens: 900_000_000_000, money: 900000}}
default_plan: bench
"""
KINDS = (
    ("unary, one caller", "calls", False, 1),
    ("unary, 32 callers", "calls", False, 32),
    ("stream, one caller", "tokens", True, 1),
    ("stream, 32 callers", "tokens", True, 32),
)


@dataclass(frozen=True)
class Bench:
    """What all ways share."""

    keys: Keys
    plans: Path
    redis: RunningPart
    token: str

    @property
    def redis_url(self) -> str:
        """With its password."""
        return f"redis://:{PASSWORD}@{self.redis.address}/0"

    @property
    def bearer(self) -> list[tuple[str, str]]:
        """What every call sends."""
        return [(headers.AUTHORIZATION, f"Bearer {self.token}")]


@asynccontextmanager
async def bench(fsync: Fsync) -> AsyncIterator[Bench]:
    """Keys, a settings file, and a Redis with the stamp of a model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = create_keys(folder / "keys")
        plans = folder / "plans.yaml"
        plans.write_text(PLANS)
        redis = start_redis(folder / "redis", password=PASSWORD, log=folder / "redis.log", fsync=fsync)
        try:
            made = Bench(keys, plans, redis, _token(keys))
            async with connect(made.redis_url) as client:
                await client.hset(MODELS, *next(iter(STAMPS.items())))
            yield made
        finally:
            redis.stop()


def _token(keys: Keys) -> str:
    return sign_token(
        keys.signing_key_file.read_bytes(),
        keys.key_id,
        subject="bench",
        tenant=TENANT,
        scopes=["inference.generate", "embedding.embed"],
        ttl_s=36000,
        issuer=ISSUER,
        audience=AUDIENCE,
        now_s=time.time(),
    )


@asynccontextmanager
async def gateway(made: Bench, checkout: Path | None = None) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """A gateway before a service: its address, and their processes."""
    shared = {"REDIS_URL": made.redis_url, "CONTEXT_KEY_FILE": str(made.keys.context_key_file), "LISTEN": "127.0.0.1:0"}
    of_service = {f"WEFT_BENCH_{name}": value for name, value in shared.items()}
    async with started_of(checkout, "tools.bench.peers", "service", **of_service) as (service, behind):
        issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(made.keys.jwks_file)}
        own = {
            **shared,
            **{f"UPSTREAMS__{name}": behind for name in ("RAG", "EMBEDDING", "INFERENCE")},
            "ISSUERS": orjson.dumps([issuer]).decode(),
            "PLANS_FILE": str(made.plans),
        }
        environment = {f"WEFT_GATEWAY_{name}": value for name, value in own.items()}
        async with started_of(checkout, "services.gateway", **environment) as (process, address):
            yield address, {"path": process.pid, "service": service.pid, "redis": made.redis.pid}


def _gateway_ways(made: Bench, address: str, processes: Mapping[str, int], suffix: str = "") -> list[Way]:
    asks = Order(address, GENERATE, PROMPT.SerializeToString().hex(), made.bearer, 1)
    embed = EmbedRequest(texts=[TEXT]).SerializeToString().hex()
    hits = replace(asks, method=EMBED, body=embed)
    return [
        Way(f"all policies{suffix}", asks, processes),
        Way(f"all policies, kept answer{suffix}", hits, processes, unary_only=True),
    ]


@asynccontextmanager
async def ways(made: Bench, against: Path | None) -> AsyncIterator[list[Way]]:
    """Every way that is measured."""
    async with AsyncExitStack() as stack:
        direct, at = await stack.enter_async_context(started("tools.bench.peers", "direct"))
        forward, through = await stack.enter_async_context(started("tools.bench.peers", "forward", UPSTREAM=at))
        asks = Order(at, GENERATE, PROMPT.SerializeToString().hex(), made.bearer, 1)
        found = [
            Way("direct", asks, {"service": direct.pid}),
            Way("bytes only", replace(asks, address=through), {"path": forward.pid, "service": direct.pid}),
            *_gateway_ways(made, *await stack.enter_async_context(gateway(made))),
        ]
        if against is not None:
            found += _gateway_ways(made, *await stack.enter_async_context(gateway(made, against)), f" ({against.name})")
        yield found


def _order(way: Way, streams: bool, at_once: int) -> Order:
    expect = None if streams or not way.unary_only else (headers.CACHE, "hit")
    method = STREAM if streams else way.order.method
    return replace(way.order, method=method, streams=streams, callers=at_once, seconds=ROUND_S, expect=expect)


async def compare(found: Sequence[Way], load: CallersProcess, rounds: int) -> None:
    """Prints a table for each kind of call."""
    for name, unit, streams, at_once in KINDS:
        taking = [way for way in found if not (streams and way.unary_only)]
        measured = {way.name: Measured() for way in taking}
        for number in range(rounds + 1):
            # Each round begins with another way, so that none always follows the same one.
            for way in taking[number % len(taking) :] + taking[: number % len(taking)]:
                order = _order(way, streams, at_once)
                warm = replace(order, expect=None) if number == 0 else order
                await turn(way, warm, load, measured[way.name] if number else Measured())
        print_table(name, unit, streams, measured)


def print_table(name: str, unit: str, streams: bool, measured: Mapping[str, Measured]) -> None:
    """Rates, ratios within a round, latencies and processor time."""
    direct, least = measured["direct"], measured["bytes only"]
    wait = "first token" if streams else "p50"
    print(f"\n## {name.capitalize()}\n")
    columns = (f"{unit}/s", "of direct", "of bytes only", f"{wait} ms", "p99 ms", "CPU us: in path", "service", "Redis")
    print(f"| way | {' | '.join(columns)} | callers |\n|{'---|' * (len(columns) + 2)}")
    for way, one in measured.items():
        waits = statistics.quantiles(one.waits_ms, n=100)
        cpu = [f"{1e6 * one.cpu_s.get(part, 0) / one.calls:,.0f}" for part in ("path", "service", "redis", "callers")]
        figures = [
            f"{statistics.median(one.per_s):,.0f}",
            f"{statistics.median(ratios(one, direct)):.2f}",
            f"{statistics.median(ratios(one, least)):.2f}",
            f"{statistics.median(waits):.2f}",
            f"{waits[-1]:.2f}",
            *cpu,
        ]
        print(f"| {way} | {' | '.join(figures)} |", flush=True)


async def growth(fsync: Fsync, marks: Sequence[int], load: CallersProcess) -> None:
    """Prints what a fresh gateway and its Redis hold after so many calls of 32 callers."""
    print(f"\n## After so many calls\n\n{growth_head()}")
    async with bench(fsync) as made, gateway(made) as (address, processes), connect(made.redis_url) as client:
        asks, done = replace(_gateway_ways(made, address, processes)[0].order, callers=32), 0
        for mark in marks:
            await load.carry_out(replace(asks, calls=mark - done))
            done = mark
            print(await growth_row(client, processes["path"], LedgerKeys(TENANT), mark), flush=True)
        print(f"\n{await a_call(client, LedgerKeys(TENANT))}")


async def main() -> None:
    """Starts everything, measures in rounds, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--fsync", choices=("always", "everysec"), default="always", help="always, as `weft up` has it")
    parser.add_argument("--against", type=Path, help="another checkout, whose gateway and service are measured too")
    parser.add_argument("--marks", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="calls, for memory")
    told = parser.parse_args()
    print(f"Load average before: {os.getloadavg()[0]:.1f}; appendfsync {told.fsync}.", flush=True)
    async with callers() as load:
        async with bench(told.fsync) as made, ways(made, told.against) as found:
            await compare(found, load, told.rounds)
        if told.marks:
            await growth(told.fsync, told.marks, load)
    print(f"\nLoad average after: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    asyncio.run(main())
