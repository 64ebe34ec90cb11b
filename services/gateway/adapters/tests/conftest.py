"""Admissions over a real Redis; each test has a tenant of its own."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from libs.parts.processes import RunningPart
from libs.store.redis import connect
from libs.store.together import Together
from libs.testing.parts import REDIS_PASSWORD
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.demands import OwnRedis

_numbers = itertools.count(1)


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has, with a name that needs care in keys."""
    return f"tenant {{{next(_numbers)}}} {uuid.uuid4()}"


@pytest.fixture
async def redis(redis_server: RunningPart) -> AsyncIterator[Redis]:
    """A client of the real server. It waits longer than a gateway would: the machine may be busy."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0", timeout_s=10.0) as client:
        yield client


@pytest.fixture
def together(redis: Redis) -> Together:
    """Commands of one tick, over that client."""
    return Together(redis)


@pytest.fixture
async def admissions(redis: Redis, together: Together) -> AsyncIterator[RedisAdmissions]:
    """Those of one gateway."""
    admissions = RedisAdmissions(redis, together, timeout_s=10.0)
    yield admissions
    await admissions.aclose(10.0)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    """A server that the test may stop and kill."""
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.stop()
