"""Calls that go this way or that by chance do so as often as the rules say: canaries by weight, faults by percent."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from libs.config.files import write_whole
from tests.commands import run_weft
from tests.mesh.calls import Caller, many
from tests.mesh.running import RunningMesh
from tests.mesh.shares import bounds
from tools.localmesh.drills import fault_of, set_drill

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

CALLS = 600
RAG = "rag.weft.svc.cluster.local"
DELAY_S = 1.0
TIMER_S = 0.05  # so early may a timer be


@pytest.mark.parametrize(("stable", "canary"), [(100, 0), (80, 20), (1, 99)])
async def test_a_canary_gets_its_weight(mesh: RunningMesh, caller: Caller, stable: int, canary: int) -> None:
    """Of a weight of 20 a fifth, of none nothing; and every call is answered."""
    if canary:
        weights = ("weight: 100\n", f"weight: {stable}\n"), ("weight: 0\n", f"weight: {canary}\n")
        await mesh.change("routing.yaml", *weights)
    before = mesh.arrived("rag"), mesh.arrived("rag-canary")
    load = await many(caller.get_collection, CALLS)
    got = sum((mesh.arrived("rag") - before[0]).values()), sum((mesh.arrived("rag-canary") - before[1]).values())
    assert load.failures == []
    # The gateways' questions for health go the same ways.
    assert sum(got) >= CALLS
    least, most = bounds(sum(got), canary / 100) if canary else (0, 0)
    assert least <= got[1] <= most, got


async def test_a_drill_aborts_its_percentage(mesh: RunningMesh, caller: Caller) -> None:
    """A fifth of the calls ends as the drill says, and all others as ever; when it is over none does."""
    before = mesh.status().published
    set_drill(mesh.state, RAG, fault_of(abort="UNAVAILABLE", percent=20))
    await mesh.eventually_published(before)
    load = await many(caller.get_collection, CALLS)
    least, most = bounds(CALLS, 0.2)
    assert least <= len(load.failures) <= most
    assert {failure.split(":")[1].strip() for failure in load.failures} == {"UNAVAILABLE"}
    await mesh.end_drills()
    assert (await many(caller.get_collection, CALLS)).failures == []


async def test_a_drill_delays_its_percentage(mesh: RunningMesh, caller: Caller) -> None:
    """A tenth of the calls begins a second late, and none of them fails."""
    before = mesh.status().published
    set_drill(mesh.state, RAG, fault_of(delay_s=DELAY_S, percent=10))
    await mesh.eventually_published(before)
    late = 0

    async def timed() -> None:
        nonlocal late
        began = time.monotonic()
        await caller.get_collection()
        late += time.monotonic() - began > DELAY_S - TIMER_S

    injected, calls = delays(mesh), arrived(mesh)
    load = await many(timed, CALLS)
    injected, calls = delays(mesh) - injected, arrived(mesh) - calls
    assert load.failures == []
    least, most = bounds(calls, 0.1)
    assert least <= injected <= most
    assert late >= bounds(CALLS, 0.1)[0]


def arrived(mesh: RunningMesh) -> int:
    """How many calls any rag has got: the gateways' questions for health are among them."""
    return sum((mesh.arrived("rag") + mesh.arrived("rag-canary")).values())


def delays(mesh: RunningMesh) -> int:
    """How many calls the gateways' proxies have delayed."""
    return sum(mesh.stats(r"@gateway(-\d)?\.fault\.delays_injected$").values())


async def test_written_faults(mesh: RunningMesh, caller: Caller) -> None:
    """`weft mesh faults on` applies the component of the rules, with its own percentages, and `off` ends it."""
    component = mesh.rules / "faults/kustomization.yaml"
    faults = component.read_text().replace("value: 0.1}, fixedDelay: 1s", "value: 1}, fixedDelay: 1s")
    write_whole(component, faults.replace("value: 0.1}, grpcStatus", "value: 15}, grpcStatus"))
    before = mesh.status().published
    done = await asyncio.to_thread(run_weft, mesh.stack.state, "mesh", "faults", "on")
    assert done.returncode == 0, done.stderr
    await mesh.eventually_published(before)
    load = await many(caller.get_collection, CALLS)
    least, most = bounds(CALLS, 0.15)
    assert least <= len(load.failures) <= most
    before = mesh.status().published
    done = await asyncio.to_thread(run_weft, mesh.stack.state, "mesh", "faults", "off")
    assert done.returncode == 0, done.stderr
    await mesh.eventually_published(before)
    assert (await many(caller.get_collection, 100)).failures == []


async def test_what_the_rules_say_of_faults(mesh: RunningMesh, caller: Caller) -> None:
    """A fault in a VirtualService holds for its route alone."""
    fault = "abort: {percentage: {value: 30}, grpcStatus: UNAVAILABLE}"
    await mesh.change("routing.yaml", ("    - name: shares\n", f"    - name: shares\n      fault: {{{fault}}}\n"))
    load, others = await asyncio.gather(many(caller.get_collection, CALLS), many(caller.list_models, 100))
    least, most = bounds(CALLS, 0.3)
    assert least <= len(load.failures) <= most
    assert {failure.split(":")[1].strip() for failure in load.failures} == {grpc.StatusCode.UNAVAILABLE.name}
    assert others.failures == []
