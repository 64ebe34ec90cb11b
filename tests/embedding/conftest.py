"""The embedding service before the inference service before a real Triton, with a real Redis; the two services in this
process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.parts.processes import RunningPart
from libs.parts.triton import TritonRuntime
from libs.testing.parts import REDIS_PASSWORD
from libs.testing.serving import Served, calling, serving
from services.embedding.settings import EmbeddingSettings
from services.embedding.wiring import embedding
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference
from weft.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

NO_REDIS = "redis://:none@127.0.0.1:1/0"
COMMON = {"listen": "127.0.0.1:0", "context_key_file": Path("/dev/null"), "redis_url": NO_REDIS}


@asynccontextmanager
async def embedding_before(inference_address: str, runtime: TritonRuntime, **settings: Any) -> AsyncIterator[Served]:
    """The service, as wired, before the inference service at an address."""
    told = {**COMMON, "inference_address": inference_address, "tokenizer_file": tokenizer_file(runtime), **settings}
    async with embedding(EmbeddingSettings.model_validate(told)) as component, serving(component) as served:
        yield served


def tokenizer_file(runtime: TritonRuntime) -> Path:
    """The embedding model's."""
    return runtime.repository / "embed/1/tokenizer.json"


@pytest.fixture(scope="session")
def redis_url(redis_server: RunningPart) -> str:
    """The Redis that all tests share."""
    return f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0"


@pytest.fixture(scope="session")
async def inference_service(triton_server: RunningPart, redis_url: str) -> AsyncIterator[Served]:
    """The inference service before the Triton and the Redis that all tests share."""
    told = {**COMMON, "triton_address": triton_server.address, "redis_url": redis_url}
    settings = InferenceSettings.model_validate(told)
    async with inference(settings) as component, serving(component) as served:
        yield served


@pytest.fixture(scope="session")
async def embedding_service(
    inference_service: Served, triton_runtime: TritonRuntime, redis_url: str
) -> AsyncIterator[Served]:
    """The embedding service before it."""
    async with embedding_before(inference_service.address, triton_runtime, redis_url=redis_url) as served:
        yield served


@pytest.fixture(scope="session")
async def stub(embedding_service: Served) -> AsyncIterator[Any]:
    """Typed calls to it, as from the gateway."""
    async with calling(embedding_service) as channel:
        yield EmbeddingServiceStub(channel)
