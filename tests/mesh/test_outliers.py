"""Replicas that fail, and replicas that die: who calls does not notice, and they are used again when they are well."""

from __future__ import annotations

import pytest

import weft.client
from libs.testing.eventually import eventually
from tests.mesh.calls import Caller, under_load
from tests.mesh.running import RunningMesh
from tools.localmesh.drills import fault_of, set_drill
from weft.common.v1 import chat_message_pb2
from weft.embedding.v1 import embedding_service_pb2 as embedding
from weft.inference.v1 import generation_service_pb2 as generation
from weft.inference.v1 import model_service_pb2 as models

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

INFERENCE = "inference.weft.svc.cluster.local"
TRITON_GPU = "triton-gpu.weft.svc.cluster.local"
GPU = "inference-gpu"
BACK_WITHIN_S = 30.0
KILLS = 2
SOME = 20
KILLED = "inference-2"


async def test_a_replica_that_fails_is_left_out_until_it_is_well(mesh: RunningMesh, caller: Caller) -> None:
    """One of four that answers UNAVAILABLE is ejected, and gets calls again when its time is over; no call fails,
    because what it does not answer another does."""
    # All four behind one name: the one before GPUs alone loses its model server.
    await mesh.change(
        "routing.yaml",
        (", subset: gpu}", "}"),
        ("inference.weft.svc.cluster.local, subset: standard}", INFERENCE + "}"),
    )
    before = mesh.status().published
    set_drill(mesh.state, TRITON_GPU, fault_of(abort="UNAVAILABLE", percent=100))
    await mesh.eventually_published(before)
    async with under_load([caller.list_models], [caller.list_models], [caller.list_models]) as load:
        await eventually(lambda: mesh.ejected("inference"), within_s=BACK_WITHIN_S)
        assert GPU in mesh.status().ready, "it is not its health that keeps it out"
        await mesh.end_drills()
        await eventually(lambda: not mesh.ejected("inference"), within_s=BACK_WITHIN_S)
        await eventually_called(mesh, GPU, GPU)
    assert load.failures == []
    assert ejections(mesh) > 0


def ejections(mesh: RunningMesh) -> int:
    """How often one was left out so far."""
    return sum(mesh.stats(r"\|\|weft/inference@.*outlier_detection\.ejections_enforced_total$").values())


async def eventually_called(mesh: RunningMesh, workload: str, pod: str) -> None:
    """Until a replica has got some more calls than it has had."""
    before = mesh.arrived(workload)[pod]
    await eventually(lambda: mesh.arrived(workload)[pod] > before + SOME, within_s=BACK_WITHIN_S)


async def test_kill_one_of_three(mesh: RunningMesh) -> None:
    """kill -9 under load: no idempotent call of a client as users have it fails; the replica comes back, and is
    used."""
    async with weft.client.connect(mesh.address, token=mesh.token()) as client:

        async def generate() -> object:
            message = chat_message_pb2.ChatMessage(role=chat_message_pb2.CHAT_ROLE_USER, content="Say it.")
            return await client.generation.Generate(
                generation.GenerateRequest(prompt=generation.Prompt(messages=[message]))
            )

        async def embed() -> object:
            return await client.embeddings.Embed(embedding.EmbedRequest(texts=["thread"]))

        async def list_models() -> object:
            return await client.models.ListModels(models.ListModelsRequest())

        calls = [generate, list_models, embed]
        async with under_load(*(calls for _ in range(8))) as load:
            for _ in range(KILLS):
                await eventually_called(mesh, "inference", KILLED)
                restarts = mesh.kill(KILLED)
                await mesh.eventually_serves(KILLED, restarts + 1)
            await eventually_called(mesh, "inference", KILLED)
    assert load.failures == []
    assert min(load.good[call.__name__] for call in calls) > 10
