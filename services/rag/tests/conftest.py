"""Stores over real parts, and their fakes: each test has a tenant of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from redis.asyncio import Redis

from libs.parts.processes import RunningPart
from libs.parts.triton import TritonRuntime
from libs.store.redis import connect
from libs.testing.parts import QDRANT_API_KEY, REDIS_PASSWORD
from services.rag.adapters.catalogue import RedisCatalogue
from services.rag.adapters.catalogue_limits import CatalogueLimits
from services.rag.adapters.index import QdrantIndex
from services.rag.adapters.terms import Bm25Terms
from services.rag.ports import Catalogue, PassageIndex
from services.rag.tests.fakes import FakeCatalogue, FakeIndex
from services.rag.wiring import connect_qdrant

_numbers = itertools.count(1)


@dataclass(frozen=True)
class CatalogueUnderTest:
    """`make` returns an empty catalogue with limits of CatalogueLimits' names; `wait` lets time pass for it."""

    make: Callable[..., Catalogue]
    wait: Callable[[float], Awaitable[None]]


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has, with a name that needs care in keys."""
    return f"tenant {{{next(_numbers)}}} {uuid.uuid4()}"


@pytest.fixture(scope="session")
async def redis(redis_server: RunningPart) -> AsyncIterator[Redis]:
    """A client of the real server."""
    async with connect(redis_url(redis_server), timeout_s=10) as client:
        yield client


@pytest.fixture(scope="session")
async def qdrant(qdrant_server: RunningPart) -> AsyncIterator[AsyncQdrantClient]:
    """A client of the local Qdrant."""
    async with connect_qdrant(qdrant_server.address, QDRANT_API_KEY) as client:
        yield client


@pytest.fixture(params=["fake", "redis"])
def catalogue_case(request: pytest.FixtureRequest) -> CatalogueUnderTest:
    """The fake catalogue, and the one in Redis."""
    return fake_catalogue() if request.param == "fake" else redis_catalogue(request.getfixturevalue("redis"))


@pytest.fixture(params=["fake", "qdrant"])
def index(request: pytest.FixtureRequest) -> PassageIndex:
    """The fake index, and the one in Qdrant."""
    return FakeIndex() if request.param == "fake" else QdrantIndex(request.getfixturevalue("qdrant"), Bm25Terms())


def redis_url(server: RunningPart) -> str:
    """As the setting has it."""
    return f"redis://:{REDIS_PASSWORD}@{server.address}/0"


def fake_catalogue() -> CatalogueUnderTest:
    """Its clock stands still unless a test moves it."""
    made: list[FakeCatalogue] = []

    def make(**limits: float) -> Catalogue:
        made.append(FakeCatalogue(**limits))  # type: ignore[arg-type]
        return made[-1]

    async def wait(seconds: float) -> None:
        for catalogue in made:
            catalogue.now_s += seconds

    return CatalogueUnderTest(make, wait)


def redis_catalogue(redis: Redis) -> CatalogueUnderTest:
    """Its clock is the server's."""

    def make(**limits: float) -> Catalogue:
        filled = CatalogueLimits(**{"sweep_grace_s": 0.0, **limits})  # type: ignore[arg-type]
        return RedisCatalogue(redis, filled, new_id=lambda: str(uuid.uuid4()), now_s=time.time)

    return CatalogueUnderTest(make, asyncio.sleep)


@pytest.fixture(scope="session")
def tokenizer_file(triton_runtime: TritonRuntime) -> Path:
    """The embedding model's tokenizer.json."""
    return triton_runtime.repository / "embed/1/tokenizer.json"
