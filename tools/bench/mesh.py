"""What the mesh costs a call: `python -m tools.bench.mesh`.

Two whole stacks on ports of their own, as `weft up` and `weft up --no-mesh` start them, and the same answers by several
ways, in turns, each round in another order, so that all see the same machine. Of the rounds those count in which others
used the least of it.

- between services: to the inference service's own process, and through the proxies of gateway and inference (out of
  the gateway's pod, mutual TLS, into the other's, to its process); with methods that it answers from memory, so that
  it is the hops that are measured, and with a real stream of tokens;
- from outside: to the gateway's own process, and through the edge, by gRPC and by REST;
- what a user of either stack has: the mesh at every hop, and no Envoy at all.

Then Envoy's memory after so many calls, and what the mesh uses while nobody calls. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tools.bench.callers import CallersProcess, callers
from tools.bench.mesh_memory import idle, memory
from tools.bench.mesh_stack import BenchStack, running_stack
from tools.bench.mesh_ways import Comparison, between_services, from_outside, in_practice
from tools.bench.ways import Measured, Others, ratios, turn, whole
from tools.stack.options import Options

AT_ONCE = (1, 32)


async def compare(comparison: Comparison, at_once: int, load: CallersProcess, told: argparse.Namespace) -> None:
    """Prints a table of the quietest rounds."""
    ways, rounds = comparison.ways, []
    for number in range(told.of + 1):
        # Each round begins with another way, so that none always follows the same one.
        others, turns = Others(), {way.name: Measured() for way in ways}
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            await turn(way, replace(way.order, callers=at_once, seconds=told.round_s), load, turns[way.name])
        if number:
            rounds.append((others.share(), turns))
    kept = sorted(rounds, key=lambda one: one[0])[: told.rounds]
    shares = [share for share, _ in kept]
    print(f"\n### {comparison.name}, {at_once} at a time\n")
    print(f"Others used {statistics.median(shares):.2f} cores, {max(shares):.2f} at most.\n")
    print_table(comparison, {way.name: whole(turns[way.name] for _, turns in kept) for way in ways})


def print_table(comparison: Comparison, measured: Mapping[str, Measured]) -> None:
    """Rates, their ratios to the first way's within a round, waits, and processor time."""
    unit = comparison.unit
    wait = "p50 ms" if unit == "call" else "first p50 ms"
    columns = (f"{unit}s/s", "of the first (quartiles)", wait, "p99 ms", f"CPU us a {unit}: Envoy", *comparison.groups)
    print(f"| way | {' | '.join(columns)} | callers |\n|{'---|' * (len(columns) + 2)}")
    first = measured[comparison.ways[0].name]
    for name, one in measured.items():
        waits = statistics.quantiles(one.waits_ms, n=100)
        low, middle, high = statistics.quantiles(ratios(one, first), n=4)
        groups = (("envoy",), *comparison.groups.values(), ("callers",))
        cpu_s = [sum(one.cpu_s.get(part, 0.0) for part in group) for group in groups]
        figures = [
            f"{statistics.median(one.per_s):,.0f}",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            f"{waits[49]:.2f}",
            f"{waits[98]:.2f}",
            *(f"{1e6 * seconds / one.calls:,.0f}" for seconds in cpu_s),
        ]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


async def measure(meshed: BenchStack, plain: BenchStack, told: argparse.Namespace) -> None:
    """Everything, in order."""
    async with callers() as load:
        print("## What the mesh uses while nobody calls\n")
        print(await idle(meshed, told.idle_s), flush=True)
        kinds = {
            "Between services": between_services(meshed),
            "From outside": from_outside(meshed),
            "With a mesh and without": in_practice(meshed, plain),
        }
        for kind, comparisons in kinds.items() if told.rounds else ():
            print(f"\n## {kind}")
            for comparison in comparisons:
                for at_once in AT_ONCE:
                    await compare(comparison, at_once, load, told)
        print("\n## Envoy's memory\n")
        await memory(meshed, load, told.marks)


def main() -> None:
    """Starts both stacks, measures in rounds, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="that are told of: the quietest; 0 for none")
    parser.add_argument("--of", type=int, default=20, help="rounds that are made")
    parser.add_argument("--round-s", type=float, default=1.0)
    parser.add_argument("--idle-s", type=float, default=30.0)
    parser.add_argument(
        "--marks",
        type=int,
        nargs="*",
        default=[1_000, 10_000, 25_000, 50_000, 75_000, 100_000],
        help="calls, for memory",
    )
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "mesh", Options()) as meshed,
        running_stack(Path(folder) / "plain", Options(mesh=False)) as plain,
    ):
        print(f"Load average before: {os.getloadavg()[0]:.1f}.\n", flush=True)
        asyncio.run(measure(meshed, plain, told))
        print(f"\nLoad average after: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
