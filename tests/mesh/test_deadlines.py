"""A caller's deadline, and its leaving, go through every hop of the mesh to the model's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import httpx
import pytest
import tritonclient.grpc.aio as triton_client

from libs.contracts import headers
from libs.testing.eventually import eventually
from libs.testing.parts import CancelledGeneration, cancelled_generations_in
from tests.mesh.calls import Caller
from tests.mesh.running import RunningMesh
from tests.streams.test_model_stops import BEGUN, long_prompt, typed_prompt
from weft.inference.v1 import generation_service_pb2 as generation
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

NOTICED_WITHIN_S = 30.0
DEADLINE_S = 0.4
PATH = "/v1:streamGenerate"


def cancelled(mesh: RunningMesh) -> list[CancelledGeneration]:
    """What the model itself noticed so far."""
    return cancelled_generations_in(mesh.stack.log("triton").read_text(errors="replace"))


async def texts_embedded(mesh: RunningMesh) -> int:
    """So many texts the embed model has read."""
    async with triton_client.InferenceServerClient(mesh.stack.address("triton")) as direct:
        statistics = await direct.get_inference_statistics("embed")
    return int(statistics.model_stats[0].inference_count)


@pytest.mark.parametrize("priority", ["normal", "high"])
async def test_a_deadline_by_grpc(mesh: RunningMesh, caller: Caller, priority: str) -> None:
    """DEADLINE_EXCEEDED, and the model works on no longer."""
    seen = len(cancelled(mesh))
    stub = generation_grpc.GenerationServiceStub(caller.channel)
    request = generation.GenerateRequest(prompt=typed_prompt(f"mesh-deadline-{priority}"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(request, timeout=DEADLINE_S, metadata=(*caller.metadata, (headers.PRIORITY, priority)))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: len(cancelled(mesh)) > seen, within_s=NOTICED_WITHIN_S)


async def test_a_deadline_by_rest(mesh: RunningMesh) -> None:
    """A caller that waits on has its deadline kept by those who serve it: it is told DEADLINE_EXCEEDED, not that
    somebody did not answer, and the model stops."""
    seen = len(cancelled(mesh))
    async with rest(mesh) as client:
        sent = {"grpc-timeout": f"{DEADLINE_S * 1000:.0f}m"}
        answer = await client.post("/v1:generate", json=body("mesh-deadline-rest"), headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (504, grpc.StatusCode.DEADLINE_EXCEEDED.value[0]), answer.text
    await eventually(lambda: len(cancelled(mesh)) > seen, within_s=NOTICED_WITHIN_S)


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
    mesh: RunningMesh, caller: Caller, call: Callable[[RunningMesh, Caller], Awaitable[None]]
) -> None:
    """The model stops in mid-work, before its first token, when the caller leaves."""
    seen, before = len(cancelled(mesh)), await texts_embedded(mesh)
    calling = asyncio.ensure_future(call(mesh, caller))

    async def has_begun() -> bool:
        assert not calling.done(), "it has ended before it was cancelled"
        return await texts_embedded(mesh) >= before + BEGUN

    try:
        await eventually(has_begun, within_s=NOTICED_WITHIN_S)
    finally:
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
    (noticed,) = await eventually(lambda: cancelled(mesh)[seen:], within_s=NOTICED_WITHIN_S)
    assert noticed.streamed_tokens == 0


def rest(mesh: RunningMesh) -> httpx.AsyncClient:
    """A caller by REST."""
    own = {"authorization": f"Bearer {mesh.token()}", headers.CACHE_CONTROL: "no-store"}
    return httpx.AsyncClient(base_url=f"http://{mesh.entry}", headers=own, timeout=60, trust_env=False)


def body(seed: str) -> dict[str, object]:
    """Keeps the model busy for seconds."""
    return {"messages": [{"role": "CHAT_ROLE_USER", "content": long_prompt(seed)}]}
