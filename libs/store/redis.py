"""Connections to Redis, and what it means when it is not reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from libs.errors.errors import Reason, UnavailableError

CONNECTIONS = 32

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    OSError,
)
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE")
"""First words of errors that redis-py has no class for."""

T = TypeVar("T")


@asynccontextmanager
async def connect(url: str, timeout_s: float = 1.0, connections: int = CONNECTIONS) -> AsyncIterator[Redis]:
    """A pool of connections; whoever needs one when all are taken waits for it. Nothing waits longer than `timeout_s`.

    Redis need not be there yet. No retries: a script may have run though its answer is lost. Answers are bytes.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=timeout_s,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=connections,
    )
    redis = Redis.from_pool(pool)
    try:
        yield redis
    finally:
        await redis.aclose()


async def reached(command: Awaitable[T]) -> T:
    """What a command returns. Raises UnavailableError where Redis was not reached or cannot serve right now."""
    try:
        return await command
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        if passes(error):
            raise unavailable() from error
        raise


def passes(error: BaseException) -> bool:
    """Whether the same command may do later: Redis was not reached, or cannot serve right now."""
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, exceptions.ResponseError) and str(error).split(" ", 1)[0] in _PASSING_WORDS


def unavailable() -> UnavailableError:
    """The error of a call that needs Redis while it is not reached."""
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "redis cannot be reached right now; try again",
        metadata={"dependency": "redis"},
        retry_after_s=1.0,
    )
