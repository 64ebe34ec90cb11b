"""A caller that leaves, or whose deadline passes, stops the model's work through all hops: the model itself notices."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

import weft.client
from libs.testing.eventually import eventually
from libs.testing.parts import CancelledGeneration
from tests.conftest import RunningStack
from tests.model_work import WatchedModel, long_prompt, sentences, typed_prompt
from weft.inference.v1 import generation_service_pb2
from weft.rag.v1 import answer_service_pb2, collection_service_pb2, document_pb2, document_service_pb2

NOTICED_WITHIN_S = 20.0
DEADLINE_S = 0.3


@dataclass(frozen=True)
class Caller:
    """A client of the gateway, and what it needs to be another one."""

    client: weft.client.Client
    address: str
    headers: dict[str, str]


@pytest.fixture(scope="module")
def model(stack: RunningStack) -> WatchedModel:
    """The stack's."""
    return WatchedModel(stack)


@pytest.fixture(scope="module")
async def caller(stack: RunningStack) -> AsyncIterator[Caller]:
    """With all scopes."""
    token = stack.token(tenant="streams")
    async with weft.client.connect(stack.address, token=token) as client:
        yield Caller(client, stack.address, {"authorization": f"Bearer {token}"})


def tensors(module: Any, seed: str) -> list[Any]:
    """The same, for the model itself."""
    text = module.InferInput("text_input", (1,), "BYTES")
    text.set_data_from_numpy(np.array([long_prompt(seed).encode()], np.object_))
    stream = module.InferInput("stream", (1,), "BOOL")
    stream.set_data_from_numpy(np.array([True]))
    return [text, stream]


async def stream_generate(caller: Caller, seed: str, timeout_s: float | None = None) -> None:
    """Typed, in pieces."""
    request = generation_service_pb2.StreamGenerateRequest(prompt=typed_prompt(seed))
    async for _ in caller.client.generation.StreamGenerate(request, timeout=timeout_s):
        pass


async def generate(caller: Caller, seed: str, timeout_s: float | None = None) -> None:
    """Typed, in one piece."""
    request = generation_service_pb2.GenerateRequest(prompt=typed_prompt(seed))
    await caller.client.generation.Generate(request, timeout=timeout_s)


async def triton_stream(caller: Caller, seed: str, timeout_s: float | None = None) -> None:
    """tritonclient's stream, asynchronous."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "generate", "inputs": tensors(aio_client, seed), "request_id": seed}

    async with aio_client.InferenceServerClient(caller.address) as client:
        answers: Any = client.stream_infer(requests(), stream_timeout=timeout_s, headers=caller.headers)
        try:
            async for _ in answers:
                pass
        finally:
            answers.cancel()


async def blocking_triton_stream(caller: Caller, seed: str, timeout_s: float | None = None) -> None:
    """tritonclient's stream, with threads."""
    failures: list[Any] = []
    ended = threading.Event()

    def told(result: Any, error: Any) -> None:
        if error is not None:
            failures.append(error)
            ended.set()

    with sync_client.InferenceServerClient(caller.address) as client:
        client.start_stream(told, stream_timeout=timeout_s, headers=caller.headers)
        client.async_stream_infer("generate", tensors(sync_client, seed), request_id=seed)
        try:
            await eventually(ended.is_set, within_s=60)
        finally:
            client.stop_stream(cancel_requests=True)
    raise failures[0]


async def stream_answer(caller: Caller, collection: str) -> None:
    """A question whose passages fill the model's window."""
    text = f"What follows 40 in {collection}, and comes before 42?"
    question = answer_service_pb2.Question(collection=collection, text=text, top_k=20)
    async for message in caller.client.answers.StreamAnswer(answer_service_pb2.StreamAnswerRequest(question=question)):
        if message.HasField("passages"):
            assert len(message.passages.passages) > 10


async def collection_of_sentences(caller: Caller, name: str) -> None:
    """As many as the model looks at."""
    await caller.client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=name))
    await caller.client.documents.IngestDocument(
        document_service_pb2.IngestDocumentRequest(
            collection=name,
            document_id="numbers",
            media_type=document_pb2.MEDIA_TYPE_PLAIN,
            content="\n".join(sentences(name)).encode(),
        )
    )


Begin = Callable[[], Coroutine[Any, Any, None]]
CALLS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "Generate": generate,
    "StreamGenerate": stream_generate,
    "tritonclient": triton_stream,
    "blocking-tritonclient": blocking_triton_stream,
}


async def cancelled_in_mid_work(model: WatchedModel, begin: Begin) -> CancelledGeneration:
    """Leaves the call as soon as the model has begun to work on it. What the model noticed."""
    seen, before = len(model.cancelled()), await model.texts_embedded()

    async def has_begun() -> bool:
        assert not calling.done(), "it has ended before it was cancelled"
        return await model.has_begun(before)

    calling = asyncio.ensure_future(begin())
    try:
        await eventually(has_begun, within_s=NOTICED_WITHIN_S)
    finally:
        cancelled_s = time.time()
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
    noticed: list[CancelledGeneration] = await eventually(lambda: model.cancelled()[seen:], NOTICED_WITHIN_S)
    print(f"the model noticed the cancel {(noticed[0].unix_s - cancelled_s) * 1000:.0f} ms after it")
    assert len(noticed) == 1
    return noticed[0]


@pytest.mark.parametrize("name", CALLS)
async def test_a_cancel_reaches_the_model(caller: Caller, model: WatchedModel, name: str) -> None:
    """In mid-work, before the first token: it writes none."""
    noticed = await cancelled_in_mid_work(model, lambda: CALLS[name](caller, f"cancel-{name}"))
    assert noticed.streamed_tokens == 0


async def test_a_cancel_of_an_answer_reaches_the_model(caller: Caller, model: WatchedModel) -> None:
    """Through one service more."""
    await collection_of_sentences(caller, "cancelled")
    noticed = await cancelled_in_mid_work(model, lambda: stream_answer(caller, "cancelled"))
    assert noticed.streamed_tokens == 0


@pytest.mark.parametrize("name", CALLS)
async def test_a_deadline_reaches_the_model(caller: Caller, model: WatchedModel, name: str) -> None:
    """A caller that waits for 300 ms is told DEADLINE_EXCEEDED, and the model works on no longer."""
    seen = len(model.cancelled())
    began_s = time.time()
    with pytest.raises((weft.client.CallError, InferenceServerException, grpc.aio.AioRpcError)) as caught:
        await CALLS[name](caller, f"deadline-{name}", DEADLINE_S)
    ended_s = time.time()
    (noticed,) = await eventually(lambda: model.cancelled()[seen:], NOTICED_WITHIN_S)
    print(
        f"a deadline of {DEADLINE_S * 1000:.0f} ms: the caller was told after {(ended_s - began_s) * 1000:.0f} ms, "
        f"the model noticed after {(noticed.unix_s - began_s) * 1000:.0f} ms"
    )

    assert told_code(caught.value) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert noticed.streamed_tokens == 0


def told_code(error: weft.client.CallError | InferenceServerException | grpc.aio.AioRpcError) -> grpc.StatusCode:
    """The status, as each client tells it."""
    if isinstance(error, weft.client.CallError):
        return error.code
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code()
    return grpc.StatusCode[error.status().removeprefix("StatusCode.")]
