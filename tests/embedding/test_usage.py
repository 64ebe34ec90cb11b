"""What an embedding costs is written down once, whatever its end is, and never passes what the call may use."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from libs.contracts import headers
from libs.ledger.keys import LedgerKeys
from libs.parts.processes import RunningPart
from libs.rpc.status import service_error_of
from libs.store.redis import connect
from libs.store.stamps import MODELS
from libs.testing.eventually import eventually
from libs.testing.serving import Served, calling
from tests.embedding.reading import has_read, texts_read
from weft.embedding.v1 import embedding_service_pb2 as pb
from weft.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

MANY = [f"{at} " + "words " * 300 for at in range(512)]


@pytest.fixture(scope="session")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the real server."""
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid.uuid4()}"


async def records(redis: Redis, tenant: str) -> list[tuple[str, int, int]]:
    """What was recorded for a tenant: model, tokens read, tokens written."""
    entries: Any = await redis.xrange(LedgerKeys(tenant).records)
    return [(fields[b"model"].decode(), int(fields[b"input"]), int(fields[b"output"])) for _, fields in entries]


async def refusal(call: Any) -> tuple[str, dict[str, str]]:
    """Why a call fails: reason and metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = service_error_of(caught.value)
    assert error is not None
    return error.reason.value, error.metadata


async def test_a_call_is_recorded_once(embedding_service: Served, redis: Redis, tenant: str) -> None:
    """As one execution of the model, though it took several calls to inference, and before it is answered."""
    async with calling(embedding_service, tenant) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        response = await stub.Embed(pb.EmbedRequest(texts=MANY[:40]))
    assert response.usage.input_tokens == 40 * 256
    assert await records(redis, tenant) == [("embed", 40 * 256, 0)]


async def test_a_cancelled_call_is_recorded_as_far_as_it_came(
    embedding_service: Served, triton_server: RunningPart, redis: Redis, tenant: str
) -> None:
    """The batches that came back, each whole, and no more."""
    before = await texts_read(triton_server)
    async with calling(embedding_service, tenant) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        call = stub.Embed(pb.EmbedRequest(texts=MANY))
        await eventually(lambda: has_read(triton_server, before + 64), within_s=20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def is_recorded() -> bool:
        return len(await records(redis, tenant)) == 1

    await eventually(is_recorded, within_s=20)
    ((model, input_tokens, output_tokens),) = await records(redis, tenant)
    assert (model, output_tokens, input_tokens % 256) == ("embed", 0, 0)
    assert 0 < input_tokens < 512 * 256


async def test_an_allowance_is_kept_to_the_token(embedding_service: Served, redis: Redis, tenant: str) -> None:
    """What the texts have is enough; one token less is refused, and nothing is charged."""
    texts = ["a cat sleeps", "cat"]
    async with calling(embedding_service, tenant, allowance_tokens=7) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        refused = await refusal(stub.Embed(pb.EmbedRequest(texts=texts)))
    assert refused == ("BUDGET_EXHAUSTED", {"budget": "call"})
    async with calling(embedding_service, tenant, allowance_tokens=8) as channel:
        stub = EmbeddingServiceStub(channel)
        assert (await stub.Embed(pb.EmbedRequest(texts=texts))).usage.input_tokens == 8


async def test_an_answer_depends_on_the_stamp_of_its_model(embedding_service: Served, redis: Redis, stub: Any) -> None:
    """What it says is what inference has written: both mean the version by its number on the inference server."""
    call = stub.Embed(pb.EmbedRequest(texts=["cat"]))
    await call
    stamp = dict(await call.trailing_metadata())[headers.DEPENDS]

    async def is_written() -> bool:
        version: Any = await redis.hget(MODELS, "model/embed")
        return version is not None and stamp == f"model/embed={version.decode()}"

    await eventually(is_written)
