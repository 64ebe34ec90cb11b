"""What a gateway and its Redis hold."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
from redis.asyncio import Redis

from libs.ledger.keys import LedgerKeys

_SAMPLED = 200
_HEAD = ("calls", "gateway RSS MiB", "PSS MiB", "Redis MiB", "append-only file MiB", "keys", "of calls", "records")


def growth_head() -> str:
    """The head of a table of `growth_row`s."""
    return f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}"


async def growth_row(redis: Redis, gateway_pid: int, keys: LedgerKeys, calls: int) -> str:
    """What is held after so many calls; `keys` are those of the tenant that made them."""
    memory = psutil.Process(gateway_pid).memory_full_info()
    info = await redis.info()
    of_calls = sum([1 async for _ in redis.scan_iter(keys.call("*"), count=1000)])
    figures: Sequence[object] = (
        f"{calls:,}",
        *(f"{size / 2**20:.1f}" for size in (memory.rss, memory.pss, info["used_memory"], info["aof_current_size"])),
        await redis.dbsize(),
        of_calls,
        await redis.xlen(keys.records),
    )
    return f"| {' | '.join(map(str, figures))} |"


async def a_call(redis: Redis, keys: LedgerKeys) -> str:
    """What a settled call takes in Redis, key by key, and for how long."""
    sizes: list[int] = []
    lives_s: list[int] = []
    async for key in redis.scan_iter(keys.call("*"), count=1000):
        sizes.append(await redis.memory_usage(key) or 0)
        lives_s.append(await redis.ttl(key))
        if len(sizes) == _SAMPLED:
            break
    records = await redis.memory_usage(keys.records, samples=0) or 0
    written = max(1, await redis.xlen(keys.records))
    return (
        f"Of {len(sizes)} calls: {sum(sizes) / len(sizes):.0f} bytes each, {sum(life > 0 for life in lives_s)} of them"
        f" for {max(lives_s)} s at most. A record: {records / written:.0f} bytes."
    )
