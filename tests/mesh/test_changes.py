"""Rules are changed while they are used."""

from __future__ import annotations

import asyncio

import pytest

from libs.config.files import write_whole
from libs.testing.eventually import eventually
from tests.commands import run_weft
from tests.mesh.calls import Caller, under_load
from tests.mesh.running import IN_FORCE_WITHIN_S, RunningMesh

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

CHANGES = (
    ("routing.yaml", "weight: 100\n", "weight: 60\n", "weight: 0\n", "weight: 40\n"),
    ("traffic.yaml", "simple: LEAST_REQUEST", "simple: ROUND_ROBIN"),
    ("traffic.yaml", "http2MaxRequests: 2000", "http2MaxRequests: 1999"),
    ("timeouts.yaml", "timeout: 61s", "timeout: 62s"),
    (
        "authorization.yaml",
        "              - cluster.local/ns/weft/sa/edge\n",
        "              - cluster.local/ns/weft/sa/edge\n              - cluster.local/ns/weft/sa/triton\n",
    ),
)
"""A file, and texts with what takes their place: of routes, clusters, and authorization."""
ROUNDS = 3


async def test_thirty_changes(mesh: RunningMesh, caller: Caller) -> None:
    """There and back, three times each of five: no call fails meanwhile, and no open stream."""
    before = mesh.status().published
    streams = caller.streaming()
    async with under_load(caller.unary(), *([stream] for stream in streams)) as load:
        for _ in range(ROUNDS):
            for file, *texts in CHANGES:
                edits = list(zip(texts[::2], texts[1::2], strict=True))
                await mesh.change(file, *edits)
                await mesh.change(file, *((new, old) for old, new in reversed(edits)))
    assert load.failures == []
    assert set(load.good) == {call.__name__ for call in (*caller.unary(), *streams)}
    assert mesh.status().published - before == 2 * ROUNDS * len(CHANGES) == 30


MISTAKES: dict[str, tuple[str, str, str, str, str]] = {
    "no YAML": ("routing.yaml", "  http:\n", "  http: [\n", "", "is not YAML"),
    "an unknown field": (
        "traffic.yaml",
        "      interval: 1s\n",
        "      intervall: 1s\n",
        "spec.trafficPolicy.outlierDetection.intervall",
        "is not supported",
    ),
    "an unknown value": (
        "traffic.yaml",
        "simple: LEAST_REQUEST",
        "simple: FASTEST",
        "spec.trafficPolicy.loadBalancer.simple",
        "'FASTEST'",
    ),
    "contradicting subsets": (
        "traffic.yaml",
        "{name: canary, labels: {version: canary}}",
        "{name: stable, labels: {version: canary}}",
        "spec.subsets[1]",
        "stable",
    ),
    "a subset that nobody is in": (
        "traffic.yaml",
        "{accelerator: gpu}",
        "{accelerator: tpu}",
        "spec.subsets[0]",
        "tpu",
    ),
    "a VirtualService for a missing host": (
        "routing.yaml",
        "hosts: [triton-gpu.weft.svc.cluster.local]",
        "hosts: [triton-npu.weft.svc.cluster.local]",
        "spec.hosts",
        "triton-npu.weft.svc.cluster.local",
    ),
    "a destination that is missing": (
        "routing.yaml",
        "destination: {host: embedding.weft.svc.cluster.local}",
        "destination: {host: embeddings.weft.svc.cluster.local}",
        "spec.http[0].route[0].destination",
        "embeddings.weft.svc.cluster.local",
    ),
    "an unknown identity": (
        "authorization.yaml",
        "cluster.local/ns/weft/sa/edge",
        "cluster.local/ns/weft/sa/hedge",
        "principals",
        "hedge",
    ),
    "weights that are not all": ("routing.yaml", "weight: 100\n", "weight: 90\n", "spec.http[0].route", "90"),
    "another kind": (
        "identity.yaml",
        "kind: PeerAuthentication",
        "kind: PeerAuthentification",
        "kind",
        "PeerAuthentification",
    ),
}
"""A file, a text of it and what takes its place; the field that is named, and a word of what is said."""


def begin(text: str, line: int) -> int:
    """The first line of the document that a line is in."""
    before = text.splitlines()[:line]
    return len(before) - before[::-1].index("---") if "---" in before else 1


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_changes_nothing(mesh: RunningMesh, caller: Caller, mistake: str) -> None:
    """It is told with its file, line and field; calls go on by the rules before it; mended, they are in force again."""
    file, old, new, field, word = MISTAKES[mistake]
    good = (mesh.rules / file).read_text()
    assert old in good
    line = good.splitlines().index(next(line for line in good.splitlines() if old.splitlines()[0] in line)) + 1
    published = mesh.status().published
    async with under_load(caller.unary(), caller.streaming()[:1]) as load:
        write_whole(mesh.rules / file, good.replace(old, new, 1))
        await eventually(lambda: mesh.status().rules == "refused", within_s=IN_FORCE_WITHIN_S)
        (problem, *_) = mesh.status().problems
        told = await asyncio.to_thread(run_weft, mesh.stack.state, "mesh", "status")
        write_whole(mesh.rules / file, good)
        await eventually(lambda: mesh.status().rules == "in force", within_s=IN_FORCE_WITHIN_S)
    assert load.failures == []
    assert problem.file.endswith(f"/{file}")
    assert problem.field.startswith(field), problem
    assert word in problem.text, problem
    if field:
        assert begin(good, line) <= problem.line <= line + 2, problem
    assert f"{problem.file}:{problem.line}" in told.stdout, told
    assert mesh.status().published == published
