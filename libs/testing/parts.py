"""Real parts, each started once for a test session. To use them: `pytest_plugins = ["libs.testing.parts"]`."""

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from libs.parts.processes import RunningPart
from libs.parts.qdrant import start_qdrant
from libs.parts.triton import TritonRuntime, ensure_triton, start_triton
from libs.parts.valkey import start_redis

REDIS_PASSWORD = "only-for-tests"
QDRANT_API_KEY = "only-for-tests"


@pytest.fixture(scope="session")
def triton_runtime() -> TritonRuntime:
    """Triton and the models' environment, installed now if they are not there (about 15 s and a download)."""
    return ensure_triton(lambda step, done: print(f"{done:4.0%} {step}", flush=True))


@pytest.fixture(scope="session")
def triton_server(triton_runtime: TritonRuntime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPart]:
    """A real Triton that serves `embed` and `generate`; gRPC at `.address`."""
    part = start_triton(triton_runtime, log=tmp_path_factory.mktemp("triton") / "triton.log")
    yield part
    part.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPart]:
    """A real Redis-compatible server at `.address`; its password is `REDIS_PASSWORD`. Tests share it: use own keys."""
    folder = tmp_path_factory.mktemp("redis")
    part = start_redis(folder / "data", password=REDIS_PASSWORD, log=folder / "redis.log")
    yield part
    part.stop()


@pytest.fixture(scope="session")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPart]:
    """A local Qdrant at `.address` (gRPC); its key is `QDRANT_API_KEY`. Tests share it: use own collection names."""
    folder = tmp_path_factory.mktemp("qdrant")
    part = start_qdrant(folder / "data", log=folder / "qdrant.log", api_key=QDRANT_API_KEY)
    yield part
    part.stop()


@dataclass(frozen=True)
class CancelledGeneration:
    """What the generate model wrote down when it noticed that nobody wants a request's answer any more.

    `unix_s` is when it noticed, `streamed_tokens` what it had sent by then.
    """

    request_id: str
    streamed_tokens: int
    unix_s: float


_CANCELLED = re.compile(r"generate cancelled request_id=(\S*) streamed_tokens=(\d+) unix_ms=(\d+)")


def cancelled_generations(triton: RunningPart) -> list[CancelledGeneration]:
    """All cancellations that the model itself has noticed since this Triton was started, oldest first."""
    return cancelled_generations_in(triton.written())


def cancelled_generations_in(log: str) -> list[CancelledGeneration]:
    """Those of a Triton's log."""
    return [
        CancelledGeneration(urllib.parse.unquote(request_id), int(tokens), int(unix_ms) / 1000)
        for request_id, tokens, unix_ms in _CANCELLED.findall(log)
    ]
