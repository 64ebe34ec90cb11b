"""The Open Inference Protocol by the unmodified tritonclient: through the service it is as Triton speaks it."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

from libs.contracts import headers
from libs.parts.processes import RunningPart
from libs.testing.eventually import eventually
from libs.testing.parts import cancelled_generations
from libs.testing.serving import Served, calling
from services.inference.tests.callers import (
    PREFIX,
    SignedContext,
    embed_request,
    generate_request,
    model_has_begun,
    pb,
    texts_embedded,
    told,
)
from services.inference.tests.conftest import inference_before, long_prompt

READS: dict[str, Callable[[Any], Any]] = {
    "server live": lambda client: client.is_server_live(),
    "server ready": lambda client: client.is_server_ready(),
    "server metadata": lambda client: client.get_server_metadata(),
    "model ready": lambda client: client.is_model_ready("generate"),
    "no model ready": lambda client: client.is_model_ready("missing"),
    "model metadata": lambda client: client.get_model_metadata("embed"),
    "model config": lambda client: client.get_model_config("generate"),
    "repository index": lambda client: client.get_model_repository_index(),
    "statistics": lambda client: client.get_inference_statistics("embed"),
    "trace settings": lambda client: client.get_trace_settings(),
    "log settings": lambda client: client.get_log_settings(),
}
TEXTS = np.array([["one"], ["another one, longer"]], np.object_)


@contextmanager
def sync_clients(triton: RunningPart, served: Served) -> Iterator[tuple[Any, Any]]:
    """A client of Triton itself, and one of the service."""
    client = sync_client.InferenceServerClient
    with client(triton.address) as direct, client(served.address) as through:
        through.register_plugin(SignedContext(served))
        yield direct, through


@pytest.fixture(scope="session")
async def aio_clients(triton_server: RunningPart, inference_service: Served) -> AsyncIterator[tuple[Any, Any]]:
    """As `sync_clients`, of tritonclient.grpc.aio."""
    direct = aio_client.InferenceServerClient(triton_server.address)
    through = aio_client.InferenceServerClient(inference_service.address)
    through.register_plugin(SignedContext(inference_service))
    yield direct, through
    await direct.close()
    await through.close()


def text_input(module: Any, texts: Any = TEXTS) -> list[Any]:
    """The tensor that the embed model takes."""
    tensor = module.InferInput("TEXT", texts.shape, "BYTES")
    tensor.set_data_from_numpy(texts)
    return [tensor]


def prompt_inputs(module: Any, text: str) -> list[Any]:
    """The tensors that the generate model takes."""
    prompt = module.InferInput("text_input", (1,), "BYTES")
    prompt.set_data_from_numpy(np.array([text.encode()], np.object_))
    stream = module.InferInput("stream", (1,), "BOOL")
    stream.set_data_from_numpy(np.array([True]))
    return [prompt, stream]


@pytest.mark.parametrize("name", READS)
async def test_what_is_read_is_what_triton_says(
    triton_server: RunningPart, inference_service: Served, name: str
) -> None:
    """Metadata, configuration, index, statistics, settings: field by field the same, by both clients."""
    read = READS[name]

    def compared() -> bool:
        with sync_clients(triton_server, inference_service) as (direct, through):
            before, between, after = read(direct), read(through), read(direct)
        if before != after:
            return False  # Others use this Triton: its counters went on between the two.
        assert between == before
        return True

    await eventually(lambda: asyncio.to_thread(compared))


@pytest.mark.parametrize("name", READS)
async def test_reads_by_the_aio_client(aio_clients: tuple[Any, Any], name: str) -> None:
    """As above, by tritonclient.grpc.aio."""
    direct, through = aio_clients
    read = READS[name]

    async def compared() -> bool:
        before, between, after = await read(direct), await read(through), await read(direct)
        if before != after:
            return False
        assert between == before
        return True

    await eventually(compared)


async def test_infer(triton_server: RunningPart, inference_service: Served, aio_clients: tuple[Any, Any]) -> None:
    """The answer to ModelInfer is Triton's, tensors and all, whichever client asks."""

    def by_sync() -> tuple[Any, Any]:
        with sync_clients(triton_server, inference_service) as clients:
            answers = [client.infer("embed", text_input(sync_client), request_id="7") for client in clients]
        assert answers[1].as_numpy("EMBEDDING").shape == (2, 384)
        return answers[0].get_response(), answers[1].get_response()

    direct, through = await asyncio.to_thread(by_sync)
    assert through == direct
    direct, through = [await client.infer("embed", text_input(aio_client), request_id="7") for client in aio_clients]
    assert through.get_response() == direct.get_response()


async def test_stream_infer(triton_server: RunningPart, inference_service: Served) -> None:
    """A stream of the sync client: every message is Triton's, the failure of a request in it too."""

    def answers(client: Any) -> list[Any]:
        received: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: received.put(error.message() if error else result.get_response()))
        client.async_stream_infer("missing", text_input(sync_client))
        found = [received.get(timeout=20)]
        client.async_stream_infer(
            "generate", prompt_inputs(sync_client, "Hello."), request_id="7", enable_empty_final_response=True
        )
        while isinstance(found[-1], str) or not found[-1].parameters["triton_final_response"].bool_param:
            found.append(received.get(timeout=20))
        client.stop_stream()
        return found

    def by_sync() -> tuple[list[Any], list[Any]]:
        with sync_clients(triton_server, inference_service) as (direct, through):
            return answers(direct), answers(through)

    direct, through = await asyncio.to_thread(by_sync)
    assert through == direct
    assert len(through) > 3


async def test_stream_infer_by_the_aio_client(aio_clients: tuple[Any, Any]) -> None:
    """A stream of tritonclient.grpc.aio that asks models of both kinds: every message is Triton's, however many ask.

    Triton itself is asked in a stream for each model: one stream for both can abort it, which the service prevents.
    """
    generate = {"model_name": "generate", "inputs": prompt_inputs(aio_client, "Hello."), "request_id": "7"}
    embed = {"model_name": "embed", "inputs": text_input(aio_client), "request_id": "8"}

    async def answers(client: Any, *asked: dict[str, Any]) -> list[Any]:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            for request in asked:
                yield dict(request)

        found = [(result.get_response(), error) async for result, error in client.stream_infer(requests())]
        return sorted(found, key=lambda pair: str(pair[0].id))

    direct, through = aio_clients
    expected = [*await answers(direct, generate), *await answers(direct, embed)]
    assert len(expected) > 3
    for _ in range(10):
        for found in await asyncio.gather(*(answers(through, generate, embed) for _ in range(8))):
            assert found == expected


FAILURES: dict[str, Callable[[Any], Any]] = {
    "no such model": lambda client: client.infer("missing", text_input(aio_client)),
    "no such input": lambda client: client.infer("embed", prompt_inputs(aio_client, "x")),
    "wrong shape": lambda client: client.infer("embed", text_input(aio_client, np.array(["x"], np.object_))),
    "decoupled": lambda client: client.infer("generate", prompt_inputs(aio_client, "x")),
    "no such config": lambda client: client.get_model_config("missing"),
    "no such statistics": lambda client: client.get_inference_statistics("missing"),
    "no such version": lambda client: client.infer("embed", text_input(aio_client), model_version="9"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failures_are_tritons_own(aio_clients: tuple[Any, Any], name: str) -> None:
    """Status and words of a failed call are those that Triton gives."""
    found = []
    for client in aio_clients:
        with pytest.raises(InferenceServerException) as caught:
            await FAILURES[name](client)
        found.append((caught.value.status(), caught.value.message()))
    assert found[0] == found[1]


async def test_a_failure_ends_a_stream_that_asks_for_it(aio_clients: tuple[Any, Any]) -> None:
    """Triton's header `triton_grpc_error` reaches it: a model's failure is then the stream's status."""
    found = []
    for client in aio_clients:

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": "generate", "inputs": prompt_inputs(aio_client, "a " * 40_000)}

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in client.stream_infer(requests(), headers={headers.TRITON_GRPC_ERROR: "true"}):
                pass
        found.append((caught.value.code(), caught.value.details()))
    assert found[0] == found[1]
    assert found[0][0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_large_tensors_pass(channel: grpc.aio.Channel) -> None:
    """A request far above gRPC's default of 4 MiB is answered."""
    call: Any = channel.unary_unary(f"{PREFIX}ModelInfer")
    answer = await call(embed_request(*["word " * 30_000] * 40).SerializeToString())
    assert pb.ModelInferResponse.FromString(answer).outputs[0].shape == [40, 384]


async def test_a_deadline_reaches_triton(aio_clients: tuple[Any, Any]) -> None:
    """A call that takes longer than its caller waits ends as DEADLINE_EXCEEDED."""
    texts = np.array([["word " * 200]] * 64, np.object_)
    with pytest.raises(InferenceServerException) as caught:
        await aio_clients[1].infer("embed", text_input(aio_client, texts), client_timeout=0.05)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


async def test_a_cancelled_stream_stops_the_model(inference_service: Served, triton_server: RunningPart) -> None:
    """A caller of ModelStreamInfer leaves: the model itself notices."""
    before = await texts_embedded(triton_server)
    async with calling(inference_service) as channel:
        call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        await call.write(generate_request(long_prompt("a passed cancel"), "passed-cancel").SerializeToString())
        await eventually(lambda: model_has_begun(triton_server, before), within_s=20)
        call.cancel()
    await eventually(
        lambda: [found for found in cancelled_generations(triton_server) if found.request_id == "passed-cancel"],
        within_s=20,
    )


async def refused(channel: grpc.aio.Channel, name: str, body: bytes) -> Any:
    """What a call is told that is refused."""
    call: Any = channel.unary_unary(f"{PREFIX}{name}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(body)
    return told(caught.value)


async def stream_refused(channel: grpc.aio.Channel, *bodies: bytes) -> Any:
    """What a stream is told that is refused."""
    call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        for body in bodies:
            await call.write(body)
        while await call.read() is not grpc.aio.EOF:
            pass
    return told(caught.value)


@pytest.mark.parametrize("kind", ["System", "Cuda"])
@pytest.mark.parametrize("what", ["Status", "Register", "Unregister"])
async def test_shared_memory_calls_are_refused(channel: grpc.aio.Channel, kind: str, what: str) -> None:
    """No tenant may register memory of the server's machine."""
    refusal = await refused(channel, f"{kind}SharedMemory{what}", b"")
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "METHOD_REFUSED")


@pytest.mark.parametrize("where", ["inputs", "outputs"])
async def test_shared_memory_tensors_are_refused(channel: grpc.aio.Channel, where: str) -> None:
    """A request whose tensor is a region never reaches Triton, alone or in a stream after a good one."""
    request = embed_request("x")
    tensor = request.inputs[0] if where == "inputs" else request.outputs.add(name="EMBEDDING")
    tensor.parameters["shared_memory_region"].string_param = "r"
    body = request.SerializeToString()
    for refusal in (
        await refused(channel, "ModelInfer", body),
        await stream_refused(channel, embed_request("good").SerializeToString(), body),
    ):
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "SHARED_MEMORY_REFUSED")


async def test_a_text_may_speak_of_shared_memory(channel: grpc.aio.Channel) -> None:
    """The words alone are no reason to refuse."""
    body = embed_request("shared_memory_region").SerializeToString()
    call: Any = channel.unary_unary(f"{PREFIX}ModelInfer")
    assert await call(body)


async def test_a_load_without_a_name_is_told_so(channel: grpc.aio.Channel) -> None:
    """The server calls it an INTERNAL failure; the service names the field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cast(Any, channel.unary_unary(f"{PREFIX}RepositoryModelLoad"))(b"")
    assert (told(caught.value).code, told(caught.value).fields) == ("INVALID_ARGUMENT", ("model_name",))


@pytest.mark.parametrize("name", ["ModelInfer", "ModelConfig", "RepositoryModelLoad"])
async def test_a_body_that_is_no_message(channel: grpc.aio.Channel, name: str) -> None:
    """Garbage is MESSAGE_MALFORMED, where Triton alone says INTERNAL."""
    refusal = await refused(channel, name, b"\xff\xff\xff")
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MESSAGE_MALFORMED")
    assert refusal.metadata == {"message": f"inference.{name}Request"}


async def test_garbage_in_a_stream(channel: grpc.aio.Channel) -> None:
    """Garbage in a stream is MESSAGE_MALFORMED, where Triton alone ends it without a word."""
    refusal = await stream_refused(channel, b"\xff\xff\xff")
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "MESSAGE_MALFORMED")


async def test_an_unknown_method(channel: grpc.aio.Channel) -> None:
    """A method that the service does not have is METHOD_UNKNOWN."""
    refusal = await refused(channel, "ModelDream", b"")
    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


async def test_without_a_signed_context(inference_service: Served) -> None:
    """Triton's protocol too is for calls from the gateway only."""
    async with grpc.aio.insecure_channel(inference_service.address) as stranger:
        refusal = await refused(stranger, "ServerReady", b"")
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "CONTEXT_REFUSED")


async def test_no_triton() -> None:
    """Where nobody listens, calls and streams are told DEPENDENCY_UNAVAILABLE, and when to come back."""
    async with inference_before("127.0.0.1:1") as served, calling(served) as channel:
        for refusal in (
            await refused(channel, "ModelInfer", embed_request("x").SerializeToString()),
            await stream_refused(channel, embed_request("x").SerializeToString()),
        ):
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
            assert refusal.metadata == {"dependency": "triton"}
            assert refusal.retry
