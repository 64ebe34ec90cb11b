"""An unmodified tritonclient through the gateway, with nothing but a token: all is as Triton itself says it."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

from libs.testing.eventually import eventually
from tests.conftest import RunningStack

READS: dict[str, Callable[..., Any]] = {
    "server live": lambda client, **sent: client.is_server_live(**sent),
    "server metadata": lambda client, **sent: client.get_server_metadata(**sent),
    "model metadata": lambda client, **sent: client.get_model_metadata("embed", **sent),
    "model config": lambda client, **sent: client.get_model_config("generate", **sent),
    "repository index": lambda client, **sent: client.get_model_repository_index(**sent),
    "statistics": lambda client, **sent: client.get_inference_statistics("embed", **sent),
}
TEXTS = np.array([["one"], ["another one, longer"]], np.object_)


@pytest.fixture(scope="module")
def token(stack: RunningStack) -> dict[str, str]:
    """The header that a caller needs."""
    return {"authorization": f"Bearer {stack.token()}"}


def texts(module: Any) -> list[Any]:
    """The input of the embed model."""
    tensor = module.InferInput("TEXT", TEXTS.shape, "BYTES")
    tensor.set_data_from_numpy(TEXTS)
    return [tensor]


def prompt(module: Any) -> list[Any]:
    """The inputs of the generate model, for a stream of tokens."""
    text = module.InferInput("text_input", (1,), "BYTES")
    text.set_data_from_numpy(np.array([b"Hello."], np.object_))
    stream = module.InferInput("stream", (1,), "BOOL")
    stream.set_data_from_numpy(np.array([True]))
    return [text, stream]


@pytest.mark.parametrize("name", READS)
async def test_reads(stack: RunningStack, token: dict[str, str], name: str) -> None:
    """Metadata, configuration, index and statistics are field by field the same."""

    def compared() -> bool:
        with (
            sync_client.InferenceServerClient(stack.stack.address("triton")) as direct,
            sync_client.InferenceServerClient(stack.address) as through,
        ):
            before, between, after = READS[name](direct), READS[name](through, headers=token), READS[name](direct)
        if before != after:
            return False  # Others use this Triton: its counters went on between the two.
        assert between == before
        return True

    await eventually(lambda: asyncio.to_thread(compared))


async def test_infer(stack: RunningStack, token: dict[str, str]) -> None:
    """The answer to ModelInfer is the same, tensors and all."""
    direct = aio_client.InferenceServerClient(stack.stack.address("triton"))
    through = aio_client.InferenceServerClient(stack.address)
    wanted = await direct.infer("embed", texts(aio_client), request_id="7")
    found = await through.infer("embed", texts(aio_client), request_id="7", headers=token)
    assert found.get_response() == wanted.get_response()
    await direct.close()
    await through.close()


async def test_stream_infer(stack: RunningStack, token: dict[str, str]) -> None:
    """A stream gives the same messages, the failure of one of its requests too."""

    def answers(address: str, sent: dict[str, str]) -> list[Any]:
        received: queue.Queue[Any] = queue.Queue()
        with sync_client.InferenceServerClient(address) as client:
            client.start_stream(
                lambda result, error: received.put(error.message() if error else result.get_response()), headers=sent
            )
            client.async_stream_infer("missing", texts(sync_client))
            found = [received.get(timeout=20)]
            client.async_stream_infer("generate", prompt(sync_client), request_id="7", enable_empty_final_response=True)
            while isinstance(found[-1], str) or not found[-1].parameters["triton_final_response"].bool_param:
                found.append(received.get(timeout=20))
            client.stop_stream()
        return found

    wanted = await asyncio.to_thread(answers, stack.stack.address("triton"), {})
    found = await asyncio.to_thread(answers, stack.address, token)
    assert found == wanted
    assert len(found) > 3


async def test_control_needs_its_own_scope(stack: RunningStack) -> None:
    """Without `inference.admin` nobody loads, unloads or sets anything; with it the settings can be read."""

    def refused(call: Callable[..., Any]) -> str:
        sent = {"authorization": f"Bearer {stack.token(['inference.read', 'inference.infer'])}"}
        with sync_client.InferenceServerClient(stack.address) as client:
            with pytest.raises(InferenceServerException) as raised:
                call(client, sent)
            return str(raised.value.status())

    calls: list[Callable[..., Any]] = [
        lambda client, sent: client.load_model("embed", headers=sent),
        lambda client, sent: client.unload_model("embed", headers=sent),
        lambda client, sent: client.get_log_settings(headers=sent),
        lambda client, sent: client.get_trace_settings(headers=sent),
    ]
    told = [await asyncio.to_thread(refused, call) for call in calls]
    assert told == ["StatusCode.PERMISSION_DENIED"] * len(calls)
    admin = {"authorization": f"Bearer {stack.token(['inference.admin'])}"}
    with sync_client.InferenceServerClient(stack.address) as client:
        assert client.get_log_settings(headers=admin).settings
