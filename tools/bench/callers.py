"""Callers in a process of their own: `python -m tools.bench.callers`.

Reads orders from stdin and answers each on stdout, a line of JSON each: see `Order` and `Outcome`. They are grpc.aio
on uvloop, which costs as much as what is measured: on a machine whose cores are all busy, rates are of the whole, so
compare ratios, and the processor time of each process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import libs.rpc.process  # noqa: F401 (first: it tells gRPC what gRPC reads when it is imported)

# isort: split
import grpc
import uvloop

from tools.bench.rest_caller import RestCaller

MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Order:
    """`callers` at a time call `method` with `body` (hex) for `seconds`, or until `calls` are made where that is set.

    `expect`: a header that the first answer has. `questions`: above one, a bidirectional stream on which the body is
    sent so often. `rest`: how it is asked by REST instead, such as "POST /v1:embed"; the body is JSON then. Values of
    metadata whose names end with "-bin" are hex.
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
    questions: int = 1
    rest: str = ""


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
        """Raises AioRpcError or RuntimeError for the first call that fails."""
        outcome = Outcome()
        ask = self._asking(order)
        if order.expect is not None:
            await _expect(ask(), order.expect)
        begin_s = time.perf_counter()

        def goes_on() -> bool:
            if order.calls:
                return outcome.calls < order.calls
            return time.perf_counter() < begin_s + order.seconds

        async def caller() -> None:
            rest = RestCaller(order.address, order.rest, bytes.fromhex(order.body), order.metadata)
            while goes_on():
                outcome.calls += 1
                sent_s = time.perf_counter()
                if order.rest:
                    await _note(_events(rest, order.streams), sent_s, outcome)
                elif order.streams:
                    await _note(ask(), sent_s, outcome)
                else:
                    await ask()
                    outcome.waits_ms.append((time.perf_counter() - sent_s) * 1000)
                    outcome.messages += 1
            rest.close()

        await asyncio.gather(*(caller() for _ in range(order.callers)))
        outcome.took_s = time.perf_counter() - begin_s
        return outcome

    def _asking(self, order: Order) -> Callable[[], Any]:
        """Makes calls: each to be awaited, or a stream of answers."""
        if order.address not in self._channels:
            options = (("grpc.use_local_subchannel_pool", 1),)
            self._channels[order.address] = grpc.aio.insecure_channel(order.address, options=options)
        channel, body = self._channels[order.address], bytes.fromhex(order.body)
        metadata = tuple((name, _value(name, value)) for name, value in order.metadata)
        if not order.streams:
            unary = channel.unary_unary(order.method)
            return lambda: unary(body, metadata=metadata)
        if order.questions == 1:
            stream = channel.unary_stream(order.method)
            return lambda: stream(body, metadata=metadata)
        both = channel.stream_stream(order.method)
        return lambda: both(itertools.repeat(body, order.questions), metadata=metadata)


def _value(name: str, value: str) -> str | bytes:
    return bytes.fromhex(value) if name.endswith("-bin") else value


async def _events(rest: RestCaller, streams: bool) -> AsyncIterator[object]:
    """An item for each event of an answer, or one for the whole of what is no stream."""
    async for count in rest.call():
        for _ in range(count if streams else 0):
            yield None
    if not streams:
        yield None


async def _note(answers: AsyncIterator[object], sent_s: float, outcome: Outcome) -> None:
    first = True
    async for _ in answers:
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
