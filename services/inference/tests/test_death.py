"""A model's process dies: the server goes on calling the model ready, the service does not, and brings it back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import psutil
import pytest

from libs.contracts.health_names import model_health
from libs.errors.errors import UnavailableError
from libs.parts.processes import RunningPart
from libs.parts.triton import TritonRuntime, start_triton
from libs.rpc.channel import channel
from libs.testing.eventually import eventually
from libs.testing.serving import Served, calling
from services.inference.adapters.catalogue import TritonCatalogue
from services.inference.adapters.control import TritonControl
from services.inference.adapters.generator import TritonGenerator
from services.inference.adapters.server import InferenceServer
from services.inference.app.canary import ASK_ANEW_AFTER_S, Canary
from services.inference.app.tests.fakes import Clock
from services.inference.app.underway import Underway
from services.inference.domain.generation import Continuation
from services.inference.domain.models import Model
from services.inference.tests.callers import (
    PREFIX,
    QUESTION,
    embed_request,
    generate_request,
    model_has_begun,
    pb,
    prompt,
    serves,
    texts_embedded,
    told,
    typed,
)
from services.inference.tests.conftest import inference_before, long_prompt
from weft.inference.v1 import generation_service_pb2 as generation_pb

RELOADED = "successfully loaded"


@pytest.fixture(scope="module")
def mortal_triton(triton_runtime: TritonRuntime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPart]:
    """A Triton of these tests' own."""
    part = start_triton(triton_runtime, log=tmp_path_factory.mktemp("triton") / "triton.log")
    yield part
    part.stop(grace_s=0)


@pytest.fixture
async def served(mortal_triton: RunningPart, redis_url: str) -> AsyncIterator[Served]:
    """A service that has learnt nothing yet, before models that live."""
    async with inference_before(mortal_triton.address, redis_url) as served:
        await eventually(lambda: serves(served, model_health("embed")))
        await eventually(lambda: serves(served, model_health("generate")))
        yield served


def kill(triton: RunningPart, model: str) -> None:
    """Kills the process in which a model runs."""
    (stub,) = [child for child in psutil.Process(triton.pid).children() if f"/{model}/" in command_of(child)]
    stub.kill()


def command_of(process: psutil.Process) -> str:
    """Its command line; "" of one that was killed before: Triton leaves them as zombies."""
    try:
        return " ".join(process.cmdline())
    except psutil.ZombieProcess:
        return ""


async def generated(channel: grpc.aio.Channel, text: str = QUESTION) -> str:
    """What the generate model answers."""
    request = generation_pb.GenerateRequest(prompt=prompt(text))
    return str((await typed(channel).Generate(request)).text)


async def answers(channel: grpc.aio.Channel) -> bool:
    """Whether the embed model does."""
    try:
        await channel.unary_unary(f"{PREFIX}ModelInfer")(embed_request("x").SerializeToString())
    except grpc.aio.AioRpcError as error:
        assert (told(error).code, told(error).reason) == ("UNAVAILABLE", "MODEL_UNAVAILABLE")
        assert told(error).metadata == {"model": "embed"}
        assert told(error).retry
        return False
    return True


async def test_a_dead_model_is_brought_back(served: Served, mortal_triton: RunningPart) -> None:
    """Callers are told MODEL_UNAVAILABLE, until the model answers again; it is loaded once."""
    loaded = mortal_triton.written().count(RELOADED)
    async with calling(served) as channel:
        assert await answers(channel)
        kill(mortal_triton, "embed")
        assert not await answers(channel)
        killed_s = time.time()
        await eventually(lambda: asyncio.gather(*(answers(channel) for _ in range(4))), every_s=0.05, within_s=20)
        await eventually(lambda: answers(channel), within_s=20)
    print(f"the model answered again {time.time() - killed_s:.1f} s after it was found dead")
    assert mortal_triton.written().count(RELOADED) == loaded + 1


async def test_health_finds_a_dead_model(served: Served, mortal_triton: RunningPart) -> None:
    """Without any call health notices, says so, brings the model back, and says that too."""
    kill(mortal_triton, "generate")
    await eventually(lambda: not_serving(served, "weft.inference.v1.GenerationService"), within_s=20)
    assert await serves(served, model_health("embed"))
    assert await serves(served, "inference.GRPCInferenceService")
    await eventually(lambda: serves(served, "weft.inference.v1.GenerationService"), within_s=20)
    async with calling(served) as channel:
        assert "first animals" in await generated(channel)


async def test_streams_do_not_wait_for_a_dead_model(served: Served, mortal_triton: RunningPart) -> None:
    """Triton leaves the streams of a dead process open; the service ends them, typed and passed on."""
    before = await texts_embedded(mortal_triton)
    async with calling(served, timeout_s=60) as channel:
        typed = asyncio.ensure_future(generated(channel, long_prompt("a death")))
        passed: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        await passed.write(generate_request(long_prompt("another death")).SerializeToString())
        reading = asyncio.ensure_future(passed.read())
        await eventually(lambda: model_has_begun(mortal_triton, before, batches=3), within_s=20)
        kill(mortal_triton, "generate")
        for waiting in (typed, reading):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting
            assert (told(caught.value).code, told(caught.value).reason) == ("UNAVAILABLE", "MODEL_UNAVAILABLE")
        await eventually(lambda: serves(served, model_health("generate")), within_s=20)


class LongQuestions(TritonControl):
    """Asks something that takes a while."""

    async def ask(self, model: Model) -> None:
        async for _ in self._generator.generate(model, Continuation(long_prompt("a question", 1200), 1)):
            pass


async def test_a_question_that_dies_with_the_model(mortal_triton: RunningPart) -> None:
    """Triton never answers it, which says nothing; the next one finds the death."""
    clock = Clock()
    async with channel(mortal_triton.address) as to_triton:
        server = InferenceServer(to_triton)
        control = LongQuestions(server, TritonGenerator(server, Underway()))
        canary = Canary("generate", TritonCatalogue(server, time.monotonic), control, clock)
        before = await texts_embedded(mortal_triton)
        asking = asyncio.ensure_future(canary())
        await eventually(lambda: model_has_begun(mortal_triton, before), within_s=20)
        kill(mortal_triton, "generate")
        clock.now_s += ASK_ANEW_AFTER_S - 1
        for asked in (asking, canary()):
            with pytest.raises(UnavailableError, match="it has not answered yet"):
                await asked
        clock.now_s += 1
        with pytest.raises(UnavailableError, match="its process died"):
            await canary()
        await control.reload("generate")


async def test_words_do_not_kill(served: Served, mortal_triton: RunningPart) -> None:
    """A caller who makes a model say that another one is dead does not get it loaded again."""
    loaded = mortal_triton.written().count(RELOADED)
    request = generate_request("x")
    request.inputs.add(name="sampling_parameters", datatype="BYTES", shape=(1,))
    text = b"{\"Stub process 'embed_0_0' is not healthy\": 1}"
    request.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    async with calling(served) as channel:
        call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        await call.write(request.SerializeToString())
        await call.done_writing()
        answer = pb.ModelStreamInferResponse.FromString(await call.read())
        assert "Stub process 'embed_0_0' is not healthy" in answer.error_message
        assert await answers(channel)
    assert mortal_triton.written().count(RELOADED) == loaded


async def not_serving(served: Served, name: str) -> bool:
    """Whether health says that a name does not serve."""
    return not await serves(served, name)
