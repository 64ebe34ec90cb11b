"""More calls than a model can serve, models that fail, models that stand in: over a real Triton."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from libs.contracts.health_names import model_health
from libs.parts.processes import RunningPart
from libs.parts.triton import TritonRuntime, start_triton
from libs.rpc.status import status_of
from libs.store.redis import connect
from libs.store.stamps import MODELS
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from libs.testing.parts import cancelled_generations
from libs.testing.serving import Served, calling
from services.inference.tests.callers import PREFIX, embed_request, generate_request, pb, prompt, serves, told, typed
from services.inference.tests.conftest import inference_before, long_prompt
from services.inference.tests.test_death import kill
from weft.inference.v1 import generation_service_pb2 as generation_pb

SPARE = "generate-spare"


@pytest.fixture(scope="module")
def repository(triton_runtime: TritonRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the runtime, and a second one that generates."""
    folder = tmp_path_factory.mktemp("models") / "repository"
    shutil.copytree(triton_runtime.repository, folder)
    shutil.copytree(folder / "generate", folder / SPARE)
    config = (folder / SPARE / "config.pbtxt").read_text()
    config = config.replace('name: "generate"', f'name: "{SPARE}"').replace('"extractive-v1"', '"spare-v1"')
    (folder / SPARE / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture(scope="module")
def own_triton(
    triton_runtime: TritonRuntime, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPart]:
    """A Triton of these tests' own, with a spare model."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    part = start_triton(triton_runtime, log=log, repository=repository)
    yield part
    part.stop(grace_s=0)


@asynccontextmanager
async def service(triton: RunningPart, redis_url: str, **settings: Any) -> AsyncIterator[Served]:
    """A service before models that live."""
    async with inference_before(triton.address, redis_url, **settings) as served:
        await eventually(lambda: serves(served, model_health("generate")), within_s=20)
        yield served


@pytest.fixture
async def narrow(own_triton: RunningPart, redis_url: str) -> AsyncIterator[Served]:
    """A service that asks a model one thing at a time, with four places to wait."""
    async with service(own_triton, redis_url, slots=1, queue=4) as served:
        yield served


def busy(seed: str) -> str:
    """A prompt that keeps the model busy for some seconds."""
    return long_prompt(seed, 800)


def generate(channel: grpc.aio.Channel, text: str, **others: Any) -> Any:
    """A call that generates."""
    return typed(channel).Generate(generation_pb.GenerateRequest(prompt=prompt(text, **others)))


def waiting(priority: str = "normal", model: str = "generate") -> float:
    """How many calls of a class wait."""
    return metrics.value("weft_inference_waiting", model=model, priority=priority)


def running(model: str = "generate") -> float:
    """How many executions are under way."""
    return metrics.value("weft_inference_running", model=model)


def is_waiting(priority: str) -> bool:
    """Whether a call of a class does."""
    return waiting(priority) == 1


def is_idle(model: str) -> bool:
    """Whether nobody asks a model, nor wants to."""
    return running(model) == 0 and waiting(model=model) == 0


def retry_s(error: grpc.aio.AioRpcError) -> float:
    """What RetryInfo says."""
    retry = error_details_pb2.RetryInfo()
    status = status_of(error.trailing_metadata() or ())
    assert status is not None and any(detail.Unpack(retry) for detail in status.details)
    return float(retry.retry_delay.ToTimedelta().total_seconds())


async def test_the_more_urgent_call_goes_first(narrow: Served) -> None:
    """HIGH passes LOW that came before it; both are answered."""
    order: list[str] = []

    async def ask(priority: str) -> None:
        async with calling(narrow, priority, priority=priority) as channel:
            await generate(channel, "What?")
        order.append(priority)

    async with calling(narrow) as channel:
        first = asyncio.ensure_future(generate(channel, busy("an order")))
        await eventually(lambda: running() == 1)
        tasks = []
        for priority in ("low", "normal", "high"):
            tasks.append(asyncio.create_task(ask(priority)))
            await eventually(partial(is_waiting, priority))
        await first
        await asyncio.gather(*tasks)
    assert order == ["high", "normal", "low"]


async def test_a_full_queue_says_when_to_come_back(narrow: Served) -> None:
    """OVERLOADED with RetryInfo, at once, typed and through the other door; who waits is answered all the same."""
    async with calling(narrow, "a") as channel, calling(narrow, "b") as other:
        held = [asyncio.ensure_future(generate(channel, busy("a full queue")))]
        await eventually(lambda: running() == 1)
        held += [asyncio.ensure_future(generate(tenant, "What?")) for tenant in (channel, channel, other, other)]
        await eventually(lambda: waiting() == 4)
        async with calling(narrow, "c", priority="low") as late:
            stream: Any = late.stream_stream(f"{PREFIX}ModelStreamInfer")(
                iter([generate_request("What?").SerializeToString()])
            )
            for refused in (generate(late, "What?"), stream.read()):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await refused
                assert (told(caught.value).code, told(caught.value).reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
                assert 0.1 <= retry_s(caught.value) <= 30.0
        await asyncio.gather(*held)


async def test_who_leaves_the_queue_is_never_asked_of_the_model(narrow: Served, own_triton: RunningPart) -> None:
    """A cancel and a deadline while waiting: the slot goes to who is left, and the model hears of neither."""
    asked = len(cancelled_generations(own_triton))
    async with calling(narrow) as channel, calling(narrow, "b", timeout_s=0.3) as hasty:
        first = asyncio.ensure_future(generate(channel, busy("a queue that is left")))
        await eventually(lambda: running() == 1)
        leaving = asyncio.ensure_future(generate(channel, long_prompt("never asked")))
        await eventually(lambda: waiting() == 1)
        leaving.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generate(hasty, long_prompt("never asked either"))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        staying = asyncio.ensure_future(generate(channel, "What?"))
        await asyncio.gather(first, staying)
    assert (running(), waiting()) == (0, 0)
    assert len(cancelled_generations(own_triton)) == asked


async def test_a_stream_holds_a_slot_only_while_it_is_answered(narrow: Served) -> None:
    """An open stream that asks nothing keeps nobody waiting."""
    embed, generation = embed_request("one").SerializeToString(), generate_request("Hello.").SerializeToString()
    async with calling(narrow) as channel:
        stream: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        for body, model in ((embed, "embed"), (embed, "embed"), (generation, "generate")):
            await stream.write(body)
            answer = pb.ModelStreamInferResponse.FromString(await stream.read())
            assert answer.infer_response.model_name == model
        await eventually(lambda: running() == running("embed") == 0)
        await generate(channel, "What?")
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass
        assert await stream.code() is grpc.StatusCode.OK


async def test_cancelled_streams_give_their_slots_back(narrow: Served) -> None:
    """Whatever they were at: asking, waiting, being answered, alone or in the call that is shared."""
    slow = [generate_request(busy("a stream that is left")).SerializeToString()] * 3
    many = [embed_request(*[f"text {at} of a crowd" for at in range(64)]).SerializeToString()] * 5
    async with calling(narrow) as channel:
        for bodies, model in ((slow, "generate"), (many, "embed")):
            for _ in range(4):
                stream: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")(iter(bodies))
                await eventually(partial(running, model), within_s=20)
                stream.cancel()
                await eventually(partial(is_idle, model), within_s=20)
        await generate(channel, "What?")


@pytest.fixture
async def with_spare(own_triton: RunningPart, redis_url: str) -> AsyncIterator[Served]:
    """A service with a stand-in."""
    async with service(own_triton, redis_url, fallbacks=f"generate={SPARE}") as served:
        yield served


async def test_another_model_stands_in(with_spare: Served, own_triton: RunningPart) -> None:
    """For one whose process is dead, where the plan allows it, marked; and no longer when it is back."""
    async with calling(with_spare) as strict, calling(with_spare, may_fall_back=True) as lenient:
        assert (await generate(lenient, "What?")).fallback_for == ""
        kill(own_triton, "generate")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generate(strict, "What?")
        assert (told(caught.value).code, told(caught.value).reason) == ("UNAVAILABLE", "MODEL_UNAVAILABLE")
        assert 0 < retry_s(caught.value) <= 30
        answer = generate(lenient, "What?")
        assert ((await answer).model, (await answer).fallback_for) == ("spare-v1", "generate")
        assert "weft-depends" not in dict(await answer.trailing_metadata())
        await eventually(lambda: answered_by(lenient, "extractive-v1"), within_s=20)


async def test_a_stream_says_who_stood_in(with_spare: Served) -> None:
    """For a model that is not loaded, in the last message."""
    async with calling(with_spare, may_fall_back=True) as channel, calling(with_spare) as strict:
        await repository_call(channel, "Unload", "generate")
        try:
            request = generation_pb.StreamGenerateRequest(prompt=prompt())
            messages = [message async for message in typed(channel).StreamGenerate(request)]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await generate(strict, "What?")
        finally:
            await repository_call(channel, "Load", "generate")
        assert (messages[-1].done.model, messages[-1].done.fallback_for) == ("spare-v1", "generate")
        assert [message.sequence for message in messages] == list(range(len(messages)))
        assert told(caught.value).reason == "MODEL_UNAVAILABLE"
        await eventually(lambda: answered_by(channel, "extractive-v1"), within_s=20)


async def test_stamps_are_of_what_is_loaded(with_spare: Served, redis_url: str) -> None:
    """A model that is unloaded loses its stamp before who did it is told, and has it again when it is loaded."""
    async with calling(with_spare) as channel, connect(redis_url) as redis:
        await eventually(lambda: redis.hget(MODELS, f"model/{SPARE}"))
        seen = []
        for what in ("Unload", "Load"):
            await repository_call(channel, what, SPARE)
            seen.append(await redis.hget(MODELS, f"model/{SPARE}"))
        assert seen == [None, b"1"]
        assert await redis.hget(MODELS, "model/embed") == b"1"


async def repository_call(channel: grpc.aio.Channel, what: str, model: str) -> None:
    """Loads or unloads a model through the service."""
    request = getattr(pb, f"RepositoryModel{what}Request")(model_name=model)
    await channel.unary_unary(f"{PREFIX}RepositoryModel{what}")(request.SerializeToString())


async def answered_by(channel: grpc.aio.Channel, model: str) -> bool:
    """Whether a model, by its descriptive name, answers for the default one."""
    return bool((await generate(channel, "What?")).model == model)
