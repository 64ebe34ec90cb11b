"""Commands that are issued within one tick of the event loop travel to Redis together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from redis.asyncio import Redis

from libs.store.exchange import exchange
from libs.store.redis import unavailable

MAX_BATCH = 16
MAX_WAITING = 10_000
MAX_UNDER_WAY = 8


class Together:
    """Sends commands in pipelines: what is issued in one tick makes one, and what is issued while `max_under_way` are
    on their way waits for the next, so that batches grow with the load.

    A pipeline has at most `max_batch` commands; of commands that are not sent yet there are at most `max_waiting`.
    Commands of different pipelines may be carried out in any order. Whoever awaits an answer can be cancelled at any
    moment; redis-py alone may lose a cancel under Python 3.11 (its writes go through `asyncio.wait_for`).
    """

    def __init__(
        self,
        redis: Redis,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        max_under_way: int = MAX_UNDER_WAY,
    ) -> None:
        self._redis = redis
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_under_way = max_under_way
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._runs: set[asyncio.Task[None]] = set()
        self._due = False

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """What Redis answers to a command; a Redis error is its exception.

        Cancelling it lets the others be: a command that is not sent yet is not sent at all, one that is may be carried
        out. Raises UnavailableError where too many wait.
        """
        if len(self._waiting) >= self._max_waiting:
            raise unavailable()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer))
        if not self._due and len(self._runs) < self._max_under_way:
            self._due = True
            loop.call_soon(self._go)
        return answer

    def _go(self) -> None:
        self._due = False
        while self._waiting and len(self._runs) < self._max_under_way:
            batch = self._next_batch()
            if batch:
                run = asyncio.get_running_loop().create_task(self._run(batch))
                self._runs.add(run)
                run.add_done_callback(self._ran)

    def _next_batch(self) -> list[tuple[tuple[Any, ...], asyncio.Future[Any]]]:
        batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < self._max_batch:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    def _ran(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._go()

    async def _run(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        answers: list[Any]
        try:
            answers = await exchange(self._redis, [command for command, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
