"""What Envoy and the mesh's controller hold, and what they use while nobody calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from libs.parts.envoy import ask_admin
from tools.bench.callers import CallersProcess, Order
from tools.bench.mesh_stack import BenchStack
from tools.bench.mesh_ways import GET_MODEL, MODEL
from tools.bench.ways import cpu_s

AT_ONCE = 32
EVERY_S = 0.5
MIB = 2**20


async def idle(stack: BenchStack, for_s: float) -> str:
    """A table: memory, and processor time over `for_s`."""
    found = stack.pids("envoy", "mesh")
    before = {name: cpu_s(pid) for name, pid in found.items()}
    await asyncio.sleep(for_s)
    rows = [
        f"| {'controller' if name == 'mesh' else 'Envoy'} | {_pss(pid):.1f} "
        f"| {1000 * (cpu_s(pid) - before[name]) / for_s:.1f} |"
        for name, pid in found.items()
    ]
    return "\n".join(["| process | PSS MiB | CPU ms a second |", "|---|---|---|", *rows])


async def memory(stack: BenchStack, load: CallersProcess, marks: Sequence[int]) -> None:
    """Prints Envoy's memory after so many calls from the gateway's pod to inference."""
    pids, done = stack.pids("envoy", "mesh"), 0
    order = Order(stack.through("gateway", "inference"), GET_MODEL, MODEL.SerializeToString().hex(), [], AT_ONCE)
    columns = ("calls", "PSS MiB", "most while they came", "anonymous MiB", "heap in use MiB", "controller PSS MiB")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for mark in (0, *marks):
        most = 0.0
        if mark:
            these = replace(order, calls=mark - done, metadata=stack.context())
            calling = asyncio.create_task(load.carry_out(these))
            while not calling.done():
                most = max(most, _pss(pids["envoy"]))
                await asyncio.wait([calling], timeout=EVERY_S)
            await calling
        done = mark
        heap = int(json.loads(ask_admin(stack.envoy, "GET", "/memory"))["allocated"]) / MIB
        figures = (_pss(pids["envoy"]), most, _anonymous(pids["envoy"]), heap, _pss(pids["mesh"]))
        print(f"| {mark:,} | {' | '.join(f'{figure:.1f}' for figure in figures)} |", flush=True)


def _pss(pid: int) -> float:
    size: int = psutil.Process(pid).memory_full_info().pss
    return size / MIB


def _anonymous(pid: int) -> float:
    """What is no file's. PSS has the program's pages too, which are shared, or not, as other Envoys come and go."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024
