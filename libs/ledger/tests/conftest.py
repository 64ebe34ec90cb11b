"""The ledger over a real Redis; each test has a tenant of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from libs.parts.processes import RunningPart
from libs.store.redis import connect
from libs.testing.parts import REDIS_PASSWORD


@pytest.fixture
async def redis(redis_server: RunningPart) -> AsyncIterator[Redis]:
    """A client of the real server."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0", timeout_s=10.0) as client:
        yield client


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has, with a name that needs care in keys."""
    return f"tenant {{}} {uuid.uuid4()}"
