"""What must be written down, though Redis is not there now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from libs.store.exchange import exchange
from libs.store.redis import passes
from libs.store.scripts import Script
from libs.telemetry import logs, metrics

LIMIT = 10_000
MAX_BATCH = 256
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
TELL_EVERY_S = 1.0

_DROPPED = metrics.counter(
    "weft_store_outbox_dropped_total",
    "Writes to Redis that were given up: too many waited, or Redis refused them.",
    ("outbox",),
)


@dataclass(frozen=True, slots=True)
class _Entry:
    script: Script
    keys: Sequence[Any]
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


class Outbox:
    """Runs scripts in the order in which they are put, each again and again until Redis has answered it once.

    So a script may run more than once, and all of them are to be idempotent. Of entries that wait there are at most
    `limit`: then the oldest is dropped, counted and logged (a line a second at most), and so is one that Redis refuses
    for what it is.
    """

    def __init__(self, redis: Redis, name: str, limit: int = LIMIT) -> None:
        self._redis = redis
        self._name = name
        self._limit = limit
        self._entries: deque[_Entry] = deque()
        self._sending: list[_Entry] = []
        self._known: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._untold = 0
        self._tell_at = 0.0

    def __len__(self) -> int:
        return len(self._entries) + len(self._sending)

    def put(self, script: Script, keys: Sequence[Any], arguments: Sequence[Any]) -> asyncio.Future[Any]:
        """Takes a script to be run, at once where Redis is there. What it returns; cancelled where it is dropped.

        Cancelling the answer changes nothing else. Returns at once.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._entries.append(_Entry(script, keys, arguments, answer))
        self._trim()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._send_all())
        return answer

    async def aclose(self, within_s: float) -> None:
        """Sends what waits, for at most `within_s`; what is left then is lost, logged and counted."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
            # A cancel may be lost: `wait_for` of Python 3.11, with which redis-py writes, drops one at its very end.
            self._stopped = True
            self._task.cancel()
            await asyncio.wait([self._task])
            self._stopped = False
        self._entries.extendleft(reversed(self._sending))
        self._sending = []
        while self._entries:
            self._drop(self._entries.popleft(), "stopped")

    async def _send_all(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self._entries and not self._stopped:
            self._sending = [self._entries.popleft() for _ in range(min(MAX_BATCH, len(self._entries)))]
            try:
                answers = await self._answers(self._sending)
            except Exception as error:
                if not passes(error):
                    logs.error("outbox", error, outbox=self._name)
                answers = [error] * len(self._sending)
            left = [
                entry for entry, answer in zip(self._sending, answers, strict=True) if not self._done(entry, answer)
            ]
            self._sending = []
            if not left:
                pause_s = FIRST_PAUSE_S
                continue
            self._known.clear()
            self._entries.extendleft(reversed(left))
            self._trim()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _answers(self, batch: Sequence[_Entry]) -> list[Any]:
        """What Redis answers to each, in one round trip once it knows the scripts: a connection keeps their order."""
        unknown = {entry.script.sha: entry.script for entry in batch if entry.script.sha not in self._known}
        commands: list[tuple[Any, ...]] = [("SCRIPT", "LOAD", script.source) for script in unknown.values()]
        commands.extend(
            ("EVALSHA", entry.script.sha, len(entry.keys), *entry.keys, *entry.arguments) for entry in batch
        )
        answers = await exchange(self._redis, commands)
        self._known.update(unknown)
        return answers[len(unknown) :]

    def _done(self, entry: _Entry, answer: Any) -> bool:
        """Takes the answer to an entry; False: it is to be sent again."""
        if isinstance(answer, NoScriptError) or (isinstance(answer, Exception) and passes(answer)):
            return False
        if isinstance(answer, Exception):
            self._drop(entry, str(answer))
        elif not entry.answer.done():
            entry.answer.set_result(answer)
        return True

    def _trim(self) -> None:
        while len(self._entries) > self._limit:
            self._drop(self._entries.popleft(), "too many wait")

    def _drop(self, entry: _Entry, why: str) -> None:
        entry.answer.cancel()
        _DROPPED.labels(self._name).inc()
        self._untold += 1
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            logs.warning("outbox", outbox=self._name, dropped=self._untold, last=entry.script.name, why=why)
            self._untold, self._tell_at = 0, now + TELL_EVERY_S
