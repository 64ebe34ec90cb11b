"""Callers in a process of their own: `python -m tools.bench.callers`.

Reads orders from stdin and answers each on stdout, a line of JSON each: see `Order` and `Outcome`. They are grpc.aio
on uvloop, which costs as much as what is measured: on a machine whose cores are all busy, rates are of the whole, so
compare ratios, and the processor time of each process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import libs.rpc.process  # noqa: F401 (first: it tells gRPC what gRPC reads when it is imported)

# isort: split
import grpc
import uvloop

MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Order:
    """`callers` at a time call `method` with `body` (hex) for `seconds`, or until `calls` are made where that is set.

    `expect`: a header that each caller's first answer has.
    """

    address: str
    method: str
    body: str
    metadata: list[tuple[str, str]]
    callers: int
    streams: bool = False
    seconds: float = 0.0
    calls: int = 0
    expect: tuple[str, str] | None = None


@dataclass
class Outcome:
    """`messages` and `waits_ms` (of a stream: until its first message) of the calls that were made."""

    calls: int = 0
    messages: int = 0
    took_s: float = 0.0
    waits_ms: list[float] = field(default_factory=list)


class Callers:
    """Keeps a connection to each address."""

    def __init__(self) -> None:
        self._channels: dict[str, Any] = {}

    async def carry_out(self, order: Order) -> Outcome:
        """Raises AioRpcError for the first call that fails."""
        if order.address not in self._channels:
            options = (("grpc.use_local_subchannel_pool", 1),)
            self._channels[order.address] = grpc.aio.insecure_channel(order.address, options=options)
        channel, outcome = self._channels[order.address], Outcome()
        make = channel.unary_stream(order.method) if order.streams else channel.unary_unary(order.method)
        call = self._stream if order.streams else self._unary
        body, metadata = bytes.fromhex(order.body), tuple((name, value) for name, value in order.metadata)
        if order.expect is not None:
            await _expect(make(body, metadata=metadata), order.expect)
        begin_s = time.perf_counter()

        def goes_on() -> bool:
            if order.calls:
                return outcome.calls < order.calls
            return time.perf_counter() < begin_s + order.seconds

        async def caller() -> None:
            while goes_on():
                outcome.calls += 1
                await call(make, body, metadata, outcome)

        await asyncio.gather(*(caller() for _ in range(order.callers)))
        outcome.took_s = time.perf_counter() - begin_s
        return outcome

    async def _unary(self, make: Any, body: bytes, metadata: Any, outcome: Outcome) -> None:
        sent_s = time.perf_counter()
        await make(body, metadata=metadata)
        outcome.waits_ms.append((time.perf_counter() - sent_s) * 1000)
        outcome.messages += 1

    async def _stream(self, make: Any, body: bytes, metadata: Any, outcome: Outcome) -> None:
        sent_s, first = time.perf_counter(), True
        async for _ in make(body, metadata=metadata):
            if first:
                first = False
                outcome.waits_ms.append((time.perf_counter() - sent_s) * 1000)
            outcome.messages += 1


async def _expect(call: Any, header: tuple[str, str]) -> None:
    await call
    name, value = header
    had = dict(await call.initial_metadata() or ()).get(name)
    if had != value:
        raise AssertionError(f"the answer's {name} is {had}, not {value}")


class CallersProcess:
    """Callers in another process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    async def carry_out(self, order: Order) -> Outcome:
        """What became of the order. Raises RuntimeError where a call failed; stderr says how."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the callers have ended")
        return Outcome(**json.loads(line))


@asynccontextmanager
async def callers() -> AsyncIterator[CallersProcess]:
    """A process of callers, which ends with the block."""
    command = (sys.executable, "-m", "tools.bench.callers")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES)
    try:
        yield CallersProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def main() -> None:
    """Carries out orders until stdin ends."""
    made = Callers()
    while line := await asyncio.to_thread(sys.stdin.readline):
        outcome = await made.carry_out(Order(**json.loads(line)))
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
