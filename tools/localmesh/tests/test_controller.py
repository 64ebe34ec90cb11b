from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.testing.eventually import eventually
from tools.localmesh.tests.lab import STREAM, Lab, call, running_lab

RAG = [("gateway-0", "gateway"), ("rag-0", "rag"), ("rag-1", "rag-canary")]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path, RAG) as lab:
        yield lab


async def test_a_route_changes_within_a_second_and_an_open_stream_lives_on(lab: Lab) -> None:
    """Weights that change lead new calls the new way, while a stream that was open before goes on where it was."""
    async with grpc.aio.insecure_channel(lab.outbound("gateway-0", "rag")) as channel:
        assert await call(channel) == "rag-0"
        stream: Any = channel.stream_stream(STREAM)()
        await stream.write(b"1")
        assert await stream.read() == b"rag-0 1"
        published = lab.status().published
        lab.rewrite("routing.yaml", "weight: 100", "weight: 0 # ")
        lab.rewrite("routing.yaml", "weight: 0\n", "weight: 100\n")

        async def led() -> bool:
            return await call(channel) == "rag-1"

        await eventually(led)
        await stream.write(b"2")
        assert await stream.read() == b"rag-0 2"
        assert lab.status().published > published
