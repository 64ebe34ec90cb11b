"""Stores over a real Redis."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from libs.parts.processes import RunningPart
from libs.parts.valkey import start_redis
from libs.store.redis import connect
from libs.testing.parts import REDIS_PASSWORD


@pytest.fixture
async def redis(redis_server: RunningPart) -> AsyncIterator[Redis]:
    """A client of the real server."""
    async with connect(f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0", timeout_s=10.0) as client:
        yield client


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RunningPart]:
    """A server that the test may stop and kill."""
    part = start_redis(tmp_path / "data", password=REDIS_PASSWORD, log=tmp_path / "redis.log")
    yield part
    if part.running():
        os.kill(part.pid, signal.SIGCONT)
    part.stop()


@pytest.fixture
def name() -> str:
    """A key that no other test has."""
    return f"test:{uuid.uuid4()}"
