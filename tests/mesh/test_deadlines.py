"""A caller's deadline, and its leaving, go through every hop of the mesh to the model's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import httpx
import pytest

from libs.contracts import headers
from libs.testing.eventually import eventually
from tests.mesh.calls import Caller
from tests.mesh.running import RunningMesh
from tests.model_work import WatchedModel, long_prompt, typed_prompt
from weft.inference.v1 import generation_service_pb2 as generation
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

NOTICED_WITHIN_S = 30.0
DEADLINE_S = 0.4
PATH = "/v1:streamGenerate"


@pytest.fixture
def model(mesh: RunningMesh) -> WatchedModel:
    """The one that all replicas of inference ask."""
    return WatchedModel(mesh)


@pytest.mark.parametrize("priority", ["normal", "high"])
async def test_a_deadline_by_grpc(model: WatchedModel, caller: Caller, priority: str) -> None:
    """DEADLINE_EXCEEDED, and the model works on no longer."""
    seen = len(model.cancelled())
    stub = generation_grpc.GenerationServiceStub(caller.channel)
    request = generation.GenerateRequest(prompt=typed_prompt(f"mesh-deadline-{priority}"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(request, timeout=DEADLINE_S, metadata=(*caller.metadata, (headers.PRIORITY, priority)))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: len(model.cancelled()) > seen, within_s=NOTICED_WITHIN_S)


async def test_a_deadline_by_rest(mesh: RunningMesh, model: WatchedModel) -> None:
    """A caller that waits on has its deadline kept by those who serve it: it is told DEADLINE_EXCEEDED, not that
    somebody did not answer, and the model stops."""
    seen = len(model.cancelled())
    async with rest(mesh) as client:
        sent = {"grpc-timeout": f"{DEADLINE_S * 1000:.0f}m"}
        answer = await client.post("/v1:generate", json=body("mesh-deadline-rest"), headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (504, grpc.StatusCode.DEADLINE_EXCEEDED.value[0]), answer.text
    await eventually(lambda: len(model.cancelled()) > seen, within_s=NOTICED_WITHIN_S)


async def by_grpc(mesh: RunningMesh, caller: Caller) -> None:
    """A stream, to its end."""
    request = generation.StreamGenerateRequest(prompt=typed_prompt("mesh-cancel-grpc"))
    stub = generation_grpc.GenerationServiceStub(caller.channel)
    async for _ in stub.StreamGenerate(request, timeout=60, metadata=caller.metadata):
        pass


async def by_rest(mesh: RunningMesh, caller: Caller) -> None:
    """A stream of server-sent events, to its end; who leaves closes the connection."""
    async with rest(mesh) as client, client.stream("POST", PATH, json=body("mesh-cancel-rest")) as answer:
        async for _ in answer.aiter_bytes():
            pass


@pytest.mark.parametrize("call", [by_grpc, by_rest])
async def test_a_cancel(
    mesh: RunningMesh,
    model: WatchedModel,
    caller: Caller,
    call: Callable[[RunningMesh, Caller], Awaitable[None]],
) -> None:
    """The model stops in mid-work, before its first token, when the caller leaves."""
    seen, before = len(model.cancelled()), await model.texts_embedded()
    calling = asyncio.ensure_future(call(mesh, caller))

    async def has_begun() -> bool:
        assert not calling.done(), "it has ended before it was cancelled"
        return await model.has_begun(before)

    try:
        await eventually(has_begun, within_s=NOTICED_WITHIN_S)
    finally:
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
    (noticed,) = await eventually(lambda: model.cancelled()[seen:], within_s=NOTICED_WITHIN_S)
    assert noticed.streamed_tokens == 0


def rest(mesh: RunningMesh) -> httpx.AsyncClient:
    """A caller by REST."""
    own = {"authorization": f"Bearer {mesh.token()}", headers.CACHE_CONTROL: "no-store"}
    return httpx.AsyncClient(base_url=f"http://{mesh.address}", headers=own, timeout=60, trust_env=False)


def body(seed: str) -> dict[str, object]:
    """Keeps the model busy for seconds."""
    return {"messages": [{"role": "CHAT_ROLE_USER", "content": long_prompt(seed)}]}
