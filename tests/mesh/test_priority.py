"""Priority: the urgent go to replicas of their own, and nobody makes himself urgent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import httpx
import pytest

from libs.contracts import headers
from libs.testing.eventually import eventually
from tests.mesh.calls import Caller, calling, under_load
from tests.mesh.running import RunningMesh

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

STANDARD = ("inference", "inference-2", "inference-3")
GPU = "inference-gpu"
SLOTS = 3  # of a model in each replica (tools/stack/start.py)
WAITING = 30
"""Calls that want a standard replica at a time: more than all of its slots."""
CALLS = 30
DELAY_S = 2
UNHINDERED = 4.0
"""Urgent calls may take so many times as long as on an idle stack: the machine has other things to do as well. Those
that met the standard replicas would take hundreds of times as long."""


async def median_s(caller: Caller) -> float:
    """Of calls one after the other."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await caller.generate()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]


def counts(mesh: RunningMesh, tenant: str) -> dict[str, int]:
    """Executions for a tenant by the part that did them."""
    return {part: len(mesh.executions(part, tenant)) for part in (*STANDARD, GPU)}


async def test_the_urgent_go_on(mesh: RunningMesh) -> None:
    """While every slot of the standard replicas is taken, and more calls wait for them, urgent ones take as long as on
    an idle stack, all at the replica before GPUs; nobody else is there."""
    async with (
        calling(mesh, "patient", {headers.PRIORITY: "low"}) as patient,
        calling(mesh, "urgent", {headers.PRIORITY: "high"}) as urgent,
    ):
        await median_s(urgent)
        idle_s = await median_s(urgent)
        await mesh.make_standard_slow(DELAY_S)
        async with under_load(*([patient.generate] for _ in range(WAITING))) as load:
            await eventually(lambda: is_saturated(mesh), within_s=20.0)
            busy_s = await median_s(urgent)
            assert is_saturated(mesh), "the experiment was over before its end"
            await mesh.restore()
    assert load.failures == []
    assert busy_s < UNHINDERED * idle_s, (busy_s, idle_s)
    await eventually(lambda: sum(counts(mesh, "urgent").values()) >= 3 * CALLS)
    assert {part for part, count in counts(mesh, "urgent").items() if count} == {GPU}
    assert counts(mesh, "patient")[GPU] == 0
    assert all(counts(mesh, "patient")[part] for part in STANDARD)


def is_saturated(mesh: RunningMesh) -> bool:
    """Whether every standard replica has more calls than slots."""
    active = mesh.under_way("inference")
    assert active.keys() == set(STANDARD)
    return min(active.values()) > SLOTS


CLAIMS: Mapping[str, Mapping[str, str]] = {
    "the header of the mesh": {headers.CALL_PRIORITY: "high"},
    "a wish above the plan": {headers.PRIORITY: "high"},
    "both": {headers.CALL_PRIORITY: "high", headers.PRIORITY: "high"},
}


@pytest.mark.parametrize("claim", CLAIMS)
async def test_nobody_claims_priority(mesh: RunningMesh, claim: str) -> None:
    """Whatever a caller of a modest plan says of itself, by gRPC or by REST, it is served by standard replicas."""
    before = counts(mesh, "modest")
    async with calling(mesh, "modest", CLAIMS[claim]) as caller:
        await asyncio.gather(*(caller.generate() for _ in range(6)), *(caller.stream_generate() for _ in range(3)))
    async with httpx.AsyncClient(base_url=f"http://{mesh.address}", timeout=60, trust_env=False) as rest:
        answers = await asyncio.gather(*(by_rest(rest, mesh, CLAIMS[claim], number) for number in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6, answers[0].text
    await eventually(lambda: sum(counts(mesh, "modest").values()) >= sum(before.values()) + 15)
    assert counts(mesh, "modest")[GPU] == 0


async def by_rest(rest: httpx.AsyncClient, mesh: RunningMesh, claim: Mapping[str, str], number: int) -> httpx.Response:
    """A generation."""
    own = {"authorization": f"Bearer {mesh.token(tenant='modest')}", **claim}
    body = {"messages": [{"role": "CHAT_ROLE_USER", "content": f"Say {number}."}]}
    return await rest.post("/v1:generate", json=body, headers=own)
