"""The inference service in this process, before a real Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.contracts.open_inference import open_inference_pb2
from libs.parts.processes import RunningPart
from libs.testing.parts import REDIS_PASSWORD
from libs.testing.serving import Served, calling, serving
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference

pb: Any = open_inference_pb2()


NO_REDIS = "redis://:none@127.0.0.1:1/0"


def settings_of(triton_address: str, redis_url: str = NO_REDIS, **settings: Any) -> dict[str, Any]:
    """What the service is told."""
    needed = {"listen": "127.0.0.1:0", "context_key_file": Path("/dev/null")}
    return {**needed, "triton_address": triton_address, "redis_url": redis_url, **settings}


@asynccontextmanager
async def inference_before(triton_address: str, redis_url: str = NO_REDIS, **settings: Any) -> AsyncIterator[Served]:
    """The service, as wired, before the Triton and the Redis at an address."""
    told = InferenceSettings.model_validate(settings_of(triton_address, redis_url, **settings))
    async with inference(told) as component, serving(component) as served:
        yield served


@pytest.fixture(scope="session")
def redis_url(redis_server: RunningPart) -> str:
    """The Redis that all tests share."""
    return f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0"


@pytest.fixture(scope="session")
async def inference_service(triton_server: RunningPart, redis_url: str) -> AsyncIterator[Served]:
    """The service before the Triton and the Redis that all tests share."""
    async with inference_before(triton_server.address, redis_url) as served:
        yield served


@pytest.fixture(scope="session")
async def channel(inference_service: Served) -> AsyncIterator[grpc.aio.Channel]:
    """Calls to the service, as from the gateway."""
    async with calling(inference_service) as channel:
        yield channel


def long_prompt(seed: str, sentences: int = 400) -> str:
    """A prompt in ChatML that keeps the extractive model busy for about a second: sentences that it has not seen."""
    source = "\n".join(
        f"In {seed} the number {at} follows {at - 1}, and comes before {at + 1}." for at in range(sentences)
    )
    return f"Sources:\n[1] Numbers\n{source}\n\nQuestion: what comes before 40 in {seed}?"
