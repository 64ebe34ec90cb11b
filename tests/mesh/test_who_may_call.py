"""Every pair of workloads: who may call whom is told by who proves to be who, and by nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from libs.rpc.status import DOMAIN, status_of
from tests.mesh.running import RunningMesh
from tests.mesh.strangers import Door, Way, doors, honest, mesh_of, stranger
from tools.localmesh.mesh import Mesh

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

ALLOWED = {
    ("edge", "gateway"),
    ("gateway", "rag"),
    ("gateway", "embedding"),
    ("gateway", "inference"),
    ("rag", "embedding"),
    ("rag", "inference"),
    ("embedding", "inference"),
    ("inference", "triton"),
}
"""The architecture's calls, by what the pods run (`app`). All others are refused."""

ASKED = {
    "gateway": "/weft.gateway.v1.IdentityService/WhoAmI",
    "rag": "/weft.rag.v1.CollectionService/ListCollections",
    "embedding": "/weft.embedding.v1.EmbeddingService/Embed",
    "inference": "/weft.inference.v1.ModelService/ListModels",
    "triton": "/inference.GRPCInferenceService/ServerLive",
}
ANSWER_WITHIN_S = 20.0
AT_A_TIME = 16
REFUSED = "PERMISSION_DENIED: RBAC: access denied"
"""What a proxy says, without a detail."""
SERVED = "served"
"""An answer of the process itself: good, or with a reason of Weft's."""


@pytest.fixture(scope="module")
def rules(running_mesh: RunningMesh) -> Mesh:
    """The stack's mesh."""
    return mesh_of(running_mesh)


@pytest.fixture(scope="module")
def pairs(rules: Mesh) -> list[Way]:
    """Every workload of k8s/base in the mesh to every replica there is. The edge takes no calls from inside: what it
    listens on is the world's."""
    clients = [workload for workload in rules.registry.workloads if workload.in_mesh]
    return [honest(client, door) for client in clients for door in doors(rules)]


@pytest.fixture(scope="module")
def dial(rules: Mesh, pairs: list[Way], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Where to dial for each pair."""
    with stranger(rules, pairs, tmp_path_factory.mktemp("stranger")) as proxy:
        yield proxy.addresses


async def answer_of(address: str, door: Door) -> str:
    """SERVED, or the status that a proxy makes."""
    async with grpc.aio.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary(ASKED[door.pod.workload.app])
        try:
            await ask(b"", timeout=ANSWER_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            if DOMAIN in _domains(error):
                return SERVED
            return f"{error.code().name}: {error.details()}"
        return SERVED


def _domains(error: grpc.aio.AioRpcError) -> set[str]:
    status: Any = status_of(tuple(error.trailing_metadata() or ()))
    found = set()
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found.add(info.domain)
    return found


async def test_every_pair(mesh: RunningMesh, pairs: list[Way], dial: Mapping[str, str]) -> None:
    """Who may call reaches the process; who may not is refused by the proxy before it, and the process sees nothing."""
    free = asyncio.Semaphore(AT_A_TIME)

    async def ask(way: Way) -> tuple[str, str]:
        async with free:
            return way.name, await answer_of(dial[way.name], way.door)

    answers = dict(await asyncio.gather(*map(ask, pairs)))
    wanted = {way.name: SERVED if (way.client.app, way.door.pod.workload.app) in ALLOWED else REFUSED for way in pairs}
    assert answers == wanted
    apps = {way.client.app for way in pairs}
    assert apps == {one for pair in ALLOWED for one in pair}, "a workload is missing, or is new: who may call it?"
    assert len(wanted) > len(apps) * len(mesh.served_pods())


async def test_the_process_does_not_see_who_is_refused(
    mesh: RunningMesh, pairs: list[Way], dial: Mapping[str, str]
) -> None:
    """A thousand calls of one that may not call leave no mark on a replica that nobody else calls now."""
    (way,) = [way for way in pairs if (way.client.name, way.door.pod.name) == ("triton", "rag-canary")]
    before = mesh.arrived("rag-canary")
    async with grpc.aio.insecure_channel(dial[way.name]) as channel:
        call: Any = channel.unary_unary(ASKED["rag"])
        results = await asyncio.gather(
            *(call(b"", timeout=ANSWER_WITHIN_S) for _ in range(1000)), return_exceptions=True
        )
    assert {result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)} == {
        grpc.StatusCode.PERMISSION_DENIED
    }
    assert mesh.arrived("rag-canary") == before


async def test_a_server_that_is_somebody_else(
    rules: Mesh, pairs: list[Way], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A proxy that finds another's certificate where it looks for a service sends nothing, however good that is."""
    by_name = {(way.client.name, way.door.pod.name): way for way in pairs}
    inference, rag = by_name["gateway", "inference"], by_name["gateway", "rag"]
    mistaken = Way(inference.client, inference.door, rag.door.address)
    with stranger(rules, [mistaken, inference], tmp_path_factory.mktemp("mistaken")) as proxy:
        told = await answer_of(proxy.addresses[mistaken.name], inference.door)
        assert told.startswith("UNAVAILABLE: "), told
        assert proxy.mistaken_identities(mistaken) == 1
        assert await answer_of(proxy.addresses[inference.name], inference.door) == SERVED
        assert proxy.mistaken_identities(inference) == 0
