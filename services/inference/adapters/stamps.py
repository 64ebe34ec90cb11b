"""The models' stamps in Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from libs.errors.errors import ServiceError
from libs.store.redis import reached
from libs.store.stamps import MODELS
from libs.telemetry import logs

_PREFIX = "model/"


class RedisStamps:
    """ModelStamps. Several of these write the same where they see the same models."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def write(self, versions: Mapping[str, str], gone: Collection[str]) -> bool:
        """See the port."""
        pipeline = self._redis.pipeline(transaction=True)
        if gone:
            pipeline.hdel(MODELS, *(_PREFIX + name for name in gone))
        if versions:
            stamps = {_PREFIX + name: version for name, version in versions.items()}
            pipeline.hset(MODELS, mapping=stamps)  # type: ignore[arg-type]
        try:
            await reached(pipeline.execute())
        except ServiceError as error:
            logs.warning("model stamps not written", why=error.message)
            return False
        return True
