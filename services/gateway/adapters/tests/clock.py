"""Redis' clock in a test's hands: the scripts as they are, but for the one line that asks what time it is."""

from __future__ import annotations

import hashlib
from types import ModuleType

import pytest
from redis.asyncio import Redis

import libs.ledger.ledger as ledger
import libs.ledger.sweeper as sweeper
import services.gateway.adapters.admissions as admissions
from libs.store.scripts import Script

_REAL = "local time = redis.call('TIME')\n"


class ManualClock:
    """Gives all scripts of the ledger a time that only `set_ms` moves."""

    def __init__(self, redis: Redis, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._redis = redis
        self._key = f"clock:{name}"
        self.now_ms = 0
        for module in (ledger, sweeper, admissions):
            self._replace(module, monkeypatch)

    async def set_ms(self, now_ms: int) -> None:
        self.now_ms = now_ms
        pipeline = self._redis.pipeline()
        pipeline.delete(self._key)
        pipeline.rpush(self._key, now_ms // 1000, now_ms % 1000 * 1000)
        await pipeline.execute()

    def _replace(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, script in vars(module).copy().items():
            if isinstance(script, Script):
                # Only the beginning of an execution needs no time.
                assert script.source.count(_REAL) == (0 if script.name == "begin" else 1)
                source = script.source.replace(_REAL, f"local time = redis.call('LRANGE', '{self._key}', 0, 1)\n")
                sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
                monkeypatch.setattr(module, name, Script(script.name, source, sha))
