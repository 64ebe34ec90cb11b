import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from libs.parts.processes import RunningPart
from libs.parts.qdrant import start_qdrant

Connect = Callable[..., AbstractAsyncContextManager[AsyncQdrantClient]]


@pytest.fixture(scope="session")
def connect() -> Connect:
    """An unmodified client of a server: connect(address, api_key=None)."""

    @contextlib.asynccontextmanager
    async def connected(address: str, api_key: str | None = None) -> AsyncIterator[AsyncQdrantClient]:
        host, port = address.split(":")
        client = AsyncQdrantClient(
            host=host,
            grpc_port=int(port),
            prefer_grpc=True,
            check_compatibility=False,
            https=False,
            api_key=api_key,
            timeout=20,
        )
        try:
            yield client
        finally:
            await client.close()

    return connected


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPart]:
    folder = tmp_path_factory.mktemp("qdrant")
    part = start_qdrant(folder / "data", log=folder / "log")
    yield part
    assert part.stop() == 0
    assert "Traceback" not in part.written()


@pytest.fixture(scope="module")
async def client(server: RunningPart, connect: Connect) -> AsyncIterator[AsyncQdrantClient]:
    async with connect(server.address) as connected:
        yield connected


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"
