"""Further gateways beside a stack's own, that a test may kill, and the ledger that they share."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from libs.ledger.keys import LedgerKeys
from libs.parts.processes import RunningPart, free_port, python_environment, start_part, wait_until
from tools.stack.part import LOOPBACK, Stack
from tools.stack.start import service_settings

READY_WITHIN_S = 30.0


class Gateways:
    """Some gateways over the services and the store of one stack, each on a port that it keeps over its deaths."""

    def __init__(self, stack: Stack, folder: Path, plans: str, count: int) -> None:
        self._stack = stack
        self._folder = folder
        self._plans = folder / "plans.yaml"
        self._plans.write_text(plans)
        self._ports = [free_port() for _ in range(count)]
        self._parts: list[RunningPart] = []
        self._starts = 0

    @property
    def addresses(self) -> list[str]:
        return [f"{LOOPBACK}:{port}" for port in self._ports]

    def start(self) -> None:
        """Starts all of them at once, and waits for all."""
        self._parts = [self._begin(number) for number in range(len(self._ports))]
        for part in self._parts:
            wait_until(part, lambda part=part: _is_ready(part), READY_WITHIN_S)  # type: ignore[misc]

    def kill(self, number: int) -> None:
        """kill -9 of one; returns when it answers again."""
        part = self._parts[number]
        part.process.send_signal(signal.SIGKILL)
        part.process.wait()
        self._parts[number] = part = self._begin(number)
        wait_until(part, lambda: _is_ready(part), READY_WITHIN_S)

    def stop(self) -> None:
        for part in self._parts:
            part.stop()

    def _begin(self, number: int) -> RunningPart:
        self._starts += 1
        settings = service_settings("gateway", self._stack) | {
            "LISTEN": self.addresses[number],
            "PLANS_FILE": str(self._plans),
        }
        return start_part(
            f"gateway {number}",
            [sys.executable, "-P", "-m", "services.gateway"],
            log=self._folder / f"gateway-{number}-{self._starts}.log",
            address=self.addresses[number],
            environment=python_environment() | {f"WEFT_GATEWAY_{name}": value for name, value in settings.items()},
        )


def _is_ready(part: RunningPart) -> bool:
    return '"ready"' in part.written()


@dataclasses.dataclass(frozen=True)
class Sums:
    """What the ledger says of a tenant's tokens, at one moment."""

    used: int
    reserved: int


class Books:
    """A tenant's accounts, read where they are kept."""

    def __init__(self, redis: Redis, tenant: str) -> None:
        self._redis = redis
        self._keys = LedgerKeys(tenant)

    async def budget(self, scope: str = "tenant", unit: str = "tokens") -> Sums:
        """Of the days that the test has seen, all of them: one may begin at midnight."""
        used = reserved = 0
        async for key in self._redis.scan_iter(match=_literally(self._keys.budget("")) + "????????"):
            values = await self._redis.hmget(key, [f"{scope}:{unit}:used", f"{scope}:{unit}:reserved"])
            used += int(values[0] or 0)
            reserved += int(values[1] or 0)
        return Sums(used, reserved)

    async def open_calls(self) -> int:
        """How many calls have a reservation."""
        return int(await self._redis.zcard(self._keys.leases))

    async def recorded(self) -> int:
        """Tokens in all records."""
        entries: Any = await self._redis.xrange(self._keys.records)
        return sum(int(fields[b"input"]) + int(fields[b"output"]) for _, fields in entries)


def executed(logs: list[Path], tenant: str) -> int:
    """Tokens that services say, in their own logs, that models read and wrote for a tenant."""
    total = 0
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("{") and '"execution"' in line:
                entry = json.loads(line)
                if entry.get("event") == "execution" and entry.get("tenant") == tenant:
                    total += entry["input_tokens"] + entry["output_tokens"]
    return total


def _literally(key: str) -> str:
    """A pattern that matches the key alone."""
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in key)
