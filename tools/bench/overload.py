"""What becomes of calls under more load than a model can serve: `python -m tools.bench.overload`.

A real Triton with the extractive model, and before it two inference services: one with as many slots as a local stack
gives the model, and one whose queue is off (more slots than there are ever calls). Calls arrive by chance, whatever
became of those before (open loop, Poisson). Each generates from a prompt that nobody has sent before. A fifth of what
can be served is HIGH, the rest LOW, of four tenants each. An answer counts where it came within DEADLINE_S.

Each round does in turn: as many callers at a time as keep the model busy (what can be served), HIGH alone, and three
times the load that can be served, with the queue and without. Prints a table in Markdown. In its percentiles a call
that got no answer in time has waited for DEADLINE_S.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from libs.auth.context import CallContext, read_context_key, seal
from libs.auth.keys import create_keys
from libs.contracts import headers
from libs.parts.processes import RunningPart
from libs.parts.triton import ensure_triton, start_triton
from libs.parts.valkey import start_redis
from libs.rpc.status import service_error_of
from tools.bench.started import started
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1.generation_service_pb2_grpc import GenerationServiceStub

DEADLINE_S = 1.5
HIGH_SHARE = 0.2
OVERLOAD = 3.0
SENTENCES = 10
CALLERS = 8
PATIENT_S = 30.0
PASSWORD = "only-for-the-bench"


@dataclass
class Measured:
    """What became of the calls of one class over all rounds."""

    in_time_s: list[float] = field(default_factory=list)
    late: int = 0
    refused_s: list[float] = field(default_factory=list)
    retry_s: list[float] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)

    @property
    def waits_s(self) -> list[float]:
        """How long each call waited for its answer; one that got none waited for DEADLINE_S at least."""
        return self.in_time_s + [DEADLINE_S] * (self.calls - len(self.in_time_s))

    @property
    def calls(self) -> int:
        """All of them."""
        return len(self.in_time_s) + self.late + len(self.refused_s) + sum(self.other.values())


@dataclass
class Phase:
    """One kind of load: its calls by class, and its answers in time for each second, round by round."""

    classes: dict[str, Measured] = field(default_factory=lambda: {"high": Measured(), "low": Measured()})
    useful_per_s: list[float] = field(default_factory=list)


class Service:
    """Calls to one inference service, as from the gateway."""

    def __init__(self, address: str, key: bytes) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub: Any = GenerationServiceStub(self._channel)
        self._key = key
        self._numbers = itertools.count(random.randrange(1 << 40))

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def call(self, priority: str, into: Measured, deadline_s: float = DEADLINE_S) -> None:
        """One call with a prompt of its own."""
        number, begin_s = next(self._numbers), time.time()
        tenant = f"tenant-{number % 4}"
        context = CallContext(tenant, "bench", f"call-{number}", f"request-{number}", priority, begin_s + deadline_s)
        request = pb.GenerateRequest(prompt=pb.Prompt(messages=[_turn(number)], max_output_tokens=32))
        metadata = ((headers.CONTEXT, seal(context, self._key)),)
        try:
            await self._stub.Generate(request, timeout=deadline_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            _note(error, time.time() - begin_s, into)
        else:
            into.in_time_s.append(time.time() - begin_s)


def _turn(number: int) -> ChatMessage:
    source = " ".join(f"Item {number} of shelf {at} weighs {at} grams." for at in range(SENTENCES))
    return ChatMessage(
        role=CHAT_ROLE_USER, content=f"Sources:\n[1] Shelves\n{source}\n\nQuestion: what weighs 7 grams?"
    )


def _note(error: grpc.aio.AioRpcError, after_s: float, into: Measured) -> None:
    told = service_error_of(error)
    reason = told.reason.value if told else error.code().name
    if reason == "OVERLOADED":
        into.refused_s.append(after_s)
        into.retry_s.append((told.retry_after_s if told else None) or 0.0)
    elif reason == "DEADLINE_EXCEEDED":
        into.late += 1
    else:
        into.other[reason] = into.other.get(reason, 0) + 1


async def busy(service: Service, round_s: float, phase: Phase) -> float:
    """CALLERS callers, each with one call at a time. Answers in time for each second."""
    measured, begin_s = Measured(), time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() < begin_s + round_s:
            await service.call("high", measured, PATIENT_S)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    rate = len(measured.in_time_s) / (time.perf_counter() - begin_s)
    phase.useful_per_s.append(rate)
    return rate


async def settled(service: Service, within_s: float) -> None:
    """Returns when the model has done what earlier calls left to it, though nobody waits for it any more."""
    in_a_row = 0
    while in_a_row < 3:
        measured = Measured()
        await service.call("high", measured, PATIENT_S)
        in_a_row = in_a_row + 1 if measured.in_time_s and measured.in_time_s[0] <= within_s else 0


async def arriving(service: Service, rates: dict[str, float], round_s: float, phase: Phase) -> None:
    """Calls of each class arrive at its rate, by chance."""
    measured = {priority: Measured() for priority in rates}
    tasks: set[asyncio.Task[None]] = set()
    chance, begin_s = random.Random(len(phase.useful_per_s)), time.perf_counter()

    async def arrive(priority: str, rate: float) -> None:
        due_s = begin_s
        while (due_s := due_s + chance.expovariate(rate)) < begin_s + round_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.add(asyncio.create_task(service.call(priority, measured[priority])))

    await asyncio.gather(*(arrive(priority, rate) for priority, rate in rates.items()))
    await asyncio.gather(*tasks)
    phase.useful_per_s.append(sum(len(one.in_time_s) for one in measured.values()) / round_s)
    for priority, one in measured.items():
        whole = phase.classes[priority]
        whole.in_time_s += one.in_time_s
        whole.late += one.late
        whole.refused_s += one.refused_s
        whole.retry_s += one.retry_s
        for reason, count in one.other.items():
            whole.other[reason] = whole.other.get(reason, 0) + count


def quantile(values: list[float], share: float) -> float:
    """A value that so many are below; NaN of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def p99(values: list[float]) -> float:
    """The value that one in a hundred is above."""
    return quantile(values, 0.99)


def print_table(peak: Phase, phases: dict[str, Phase]) -> None:
    """The classes of each phase, then the two ratios."""
    print("| load | class | calls | in time | refused | too late | p50 ms | p99 ms | refused after ms, p99 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, phase in phases.items():
        for priority, one in phase.classes.items():
            if one.calls:
                counts = [len(one.in_time_s), len(one.refused_s), one.late + sum(one.other.values())]
                times = [quantile(one.waits_s, 0.5), p99(one.waits_s), p99(one.refused_s)]
                figures = [f"{count / one.calls:.0%}" for count in counts] + [f"{1000 * value:.0f}" for value in times]
                print(f"| {name} | {priority} | {one.calls} | {' | '.join(figures)} |")
    best = statistics.median(peak.useful_per_s)
    alone = phases["HIGH alone"]
    print(f"\nWhat can be served: {best:.1f} answers/s (rounds: {_rounds(peak.useful_per_s)}).\n")
    print("| load | useful answers/s | of the peak | p99 of HIGH, of that alone |")
    print("|---|---|---|---|")
    for name, phase in phases.items():
        shares = [useful / top for useful, top in zip(phase.useful_per_s, peak.useful_per_s, strict=True)]
        ratio = p99(phase.classes["high"].waits_s) / p99(alone.classes["high"].waits_s)
        useful = statistics.median(phase.useful_per_s)
        print(f"| {name} | {useful:.1f} | {statistics.median(shares):.0%} ({_rounds(shares)}) | {ratio:.2f} |")
    others = {name: {k: one.other for k, one in phase.classes.items() if one.other} for name, phase in phases.items()}
    print(f"\nOther failures: {({name: one for name, one in others.items() if one}) or 'none'}.")


def _rounds(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[tuple[RunningPart, RunningPart]]:
    """A Triton and a Redis of the bench's own."""
    triton = await asyncio.to_thread(start_triton, ensure_triton(), log=folder / "triton.log")
    try:
        redis = await asyncio.to_thread(
            start_redis, folder / "redis", password=PASSWORD, log=folder / "redis.log", fsync="everysec"
        )
        try:
            yield triton, redis
        finally:
            redis.stop()
    finally:
        triton.stop()


async def main() -> None:
    """Starts everything, measures in rounds, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-s", type=float, default=10.0)
    parser.add_argument("--slots", type=int, default=3, help="executions of the model at a time, with the queue")
    told = parser.parse_args()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys = create_keys(folder / "keys")
        key = read_context_key(keys.context_key_file)
        triton, redis = await stack.enter_async_context(parts(folder))

        async def service(**settings: str) -> Service:
            environment = {
                "LISTEN": "127.0.0.1:0",
                "CONTEXT_KEY_FILE": str(keys.context_key_file),
                "TRITON_ADDRESS": triton.address,
                "REDIS_URL": f"redis://:{PASSWORD}@{redis.address}/0",
                "LOG_LEVEL": "info",
                **settings,
            }
            prefixed = {f"WEFT_INFERENCE_{name}": value for name, value in environment.items()}
            _, address = await stack.enter_async_context(started("services.inference", **prefixed))
            made = Service(address, key)
            stack.push_async_callback(made.close)
            return made

        queued = await service(SLOTS=str(told.slots))
        unqueued = await service(SLOTS="1024")
        peak, phases = Phase(), {name: Phase() for name in ("HIGH alone", "3 times, queue", "3 times, no queue")}
        await busy(queued, told.round_s / 2, Phase())
        warm = Measured()
        for _ in range(20):
            await queued.call("high", warm, PATIENT_S)
        usual_s = statistics.median(warm.in_time_s)
        for _ in range(told.rounds):
            await settled(queued, 2 * usual_s)
            top = await busy(queued, told.round_s, peak)
            high = HIGH_SHARE * top
            low = (OVERLOAD - HIGH_SHARE) * top
            await arriving(queued, {"high": high}, told.round_s, phases["HIGH alone"])
            await arriving(queued, {"high": high, "low": low}, told.round_s, phases["3 times, queue"])
            await settled(queued, 2 * usual_s)
            await arriving(unqueued, {"high": high, "low": low}, told.round_s, phases["3 times, no queue"])
            print(f"load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
        print_table(peak, phases)


if __name__ == "__main__":
    asyncio.run(main())
