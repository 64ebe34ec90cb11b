"""Answers that may be given again, in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from redis.exceptions import RedisError

from libs.errors.errors import UnavailableError
from libs.ledger.keys import LedgerKeys
from libs.store.redis import reached
from libs.store.scripts import Script, read_script
from libs.store.together import Together
from libs.telemetry import logs, metrics

STALE_S = 3600.0
MAX_ENTRY_BYTES = 256 * 1024
MAX_TENANT_BYTES = 32 << 20
"""So much of a tenant is kept within an hour and its time: what else is in Redis, the limits first of all, has room."""
POLL_S = 0.05

_KEEP = read_script("services.gateway.adapters", "keep")
_GIVE_UP = read_script("services.gateway.adapters", "give_up")

_FAILED = metrics.counter(
    "weft_gateway_kept_answers_failed_total", "Steps of the response cache that Redis did not do.", ("step",)
)


class RedisKeptAnswers:
    """`KeptAnswers` in Redis; `admit.lua` reads them. An entry expires `stale_s` after its time, or is evicted before.

    What a caller waits for may be made by any gateway: it looks every `poll_s`, and at once when this process made it.
    """

    def __init__(
        self,
        together: Together,
        *,
        stale_s: float = STALE_S,
        max_entry_bytes: int = MAX_ENTRY_BYTES,
        max_tenant_bytes: int = MAX_TENANT_BYTES,
        poll_s: float = POLL_S,
    ) -> None:
        self._together = together
        self._stale_s = stale_s
        self._max_entry_bytes = max_entry_bytes
        self._max_tenant_bytes = max_tenant_bytes
        self._poll_s = poll_s
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def keep(self, tenant: str, name: str, body: bytes, depends: Mapping[str, str], ttl_s: float) -> None:
        keys = LedgerKeys(tenant)
        answer, flight = keys.answer(name), keys.flight(name)
        if len(body) <= self._max_entry_bytes:
            bounds = (round(ttl_s * 1000), round(self._stale_s * 1000), self._max_tenant_bytes)
            await self._run(
                "keep", _KEEP, [answer, flight, keys.kept_bytes], [body, orjson.dumps(dict(depends)), *bounds]
            )
        else:
            await self._reach("keep", "DEL", flight)
        self._wake(flight)

    async def give_up(self, tenant: str, name: str, call_id: str) -> None:
        flight = LedgerKeys(tenant).flight(name)
        await self._run("give up", _GIVE_UP, [flight], [call_id])
        self._wake(flight)

    async def wait(self, tenant: str, name: str, within_s: float) -> None:
        flight = LedgerKeys(tenant).flight(name)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        landed: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting.setdefault(flight, set())
        waiting.add(landed)
        try:
            while not landed.done() and (left := deadline - loop.time()) > 0:
                if not await self._reach("wait", "EXISTS", flight):
                    return
                await asyncio.wait([landed], timeout=min(self._poll_s, left))
        finally:
            waiting.discard(landed)
            if not waiting and self._waiting.get(flight) is waiting:
                del self._waiting[flight]

    @property
    def waited_for(self) -> int:
        """How many answers are waited for in this process."""
        return len(self._waiting)

    def _wake(self, flight: str) -> None:
        for landed in self._waiting.pop(flight, ()):
            if not landed.done():
                landed.set_result(None)

    async def _run(self, step: str, script: Script, keys: list[str], arguments: list[Any]) -> None:
        try:
            await script(self._together, keys, arguments)
        except (UnavailableError, RedisError) as error:
            self._tell(step, error)

    async def _reach(self, step: str, *command: Any) -> Any:
        """What Redis answers; None where it does not."""
        try:
            return await reached(self._together.send(*command))
        except (UnavailableError, RedisError) as error:
            self._tell(step, error)
            return None

    def _tell(self, step: str, error: Exception) -> None:
        _FAILED.labels(step).inc()
        logs.warning("kept answers", step=step, failed=type(error).__name__)
