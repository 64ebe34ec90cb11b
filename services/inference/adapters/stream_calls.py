"""The calls to the inference server that one stream of a caller becomes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from services.inference.adapters.lone_call import LoneCall
from services.inference.adapters.server import InferenceServer, pb, timeout_s
from services.inference.domain import failures
from services.inference.domain.models import model_unavailable
from services.inference.ports import Asking

AT_A_TIME = 64
"""Requests of one stream that have a call of their own; the next one waits."""
_WAITING_ANSWERS = 16
_EMPTY_FINAL = "triton_enable_empty_final_response"


class StreamCalls:
    """CallerStream: sends the requests of a stream, gives the answers of all its calls in the order in which they come.

    Triton aborts, for everybody, where one of its streams is due an answer in order while it still writes one that is
    not. In order come the answers of models that answer once, and its own refusals, of whatever model; out of order
    those of models that stream. So each request that may stream has a call of its own; all others share one, which
    keeps their order.
    """

    def __init__(self, server: InferenceServer, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """`metadata` goes with each call."""
        self._server = server
        self._metadata = metadata
        self._shared: Any = None
        self._half_closed = False
        self._alone = asyncio.Semaphore(AT_A_TIME)
        self._room = asyncio.Semaphore(_WAITING_ANSWERS)
        self._arrived: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()  # as much as _room lets in, and ends
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: deque[Asking] = deque()
        """Of the requests of the call that is shared, in their order, which is that of the answers."""
        self.trailers: tuple[tuple[str, str | bytes], ...] = ()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that answers may come of: they are not over before it is. Its failure is theirs."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def send(self, request: Any, body: bytes, asking: Asking, *, alone: bool) -> None:
        """See the port. Raises AioRpcError or InvalidStateError where the call that is shared has ended."""
        if alone:
            await self._send_alone(request, asking)
            return
        self._unanswered.append(asking)
        if self._shared is None:
            self._shared = self._server.stream_infer_bytes(timeout=timeout_s(), metadata=self._metadata)
            self.start(self._read_shared(self._shared)).add_done_callback(self._shared_ended)
        elif self._shared.done():
            self._shared_ended(None)
        await self._shared.write(body)

    async def _send_alone(self, request: Any, asking: Asking) -> None:
        try:
            await self._alone.acquire()
        except BaseException as error:
            asking.end(error)
            raise
        # By its task: one that is cancelled before it begins runs nothing of its own.
        self.start(self._ask_alone(request, asking)).add_done_callback(lambda task: self._alone_ended(task, asking))

    def _alone_ended(self, task: asyncio.Task[None], asking: Asking) -> None:
        self._alone.release()
        asking.end(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _shared_ended(self, task: asyncio.Task[None] | None) -> None:
        """There will be no more answers."""
        failure = None if task is None or task.cancelled() else task.exception()
        while self._unanswered:
            self._unanswered.popleft().end(failure or asyncio.CancelledError())

    async def done_sending(self) -> None:
        """There are no more requests."""
        self._half_closed = True
        if self._shared is not None:
            await self._shared.done_writing()

    async def answers(self) -> AsyncIterator[bytes]:
        """Ends when all calls have, or at `cut`. Raises the first failure of any."""
        while True:
            arrived = await self._arrived.get()
            if arrived is None:
                return
            if isinstance(arrived, Exception):
                raise arrived
            self._room.release()
            yield arrived

    def cut(self) -> None:
        """Ends the answers, after those that have arrived."""
        self._arrived.put_nowait(None)

    def cancel(self) -> None:
        """Cancels whatever is under way; to be called in the end."""
        for task in self._tasks:
            task.cancel()

    async def _ask_alone(self, request: Any, asking: Asking) -> None:
        wanted = request.parameters[_EMPTY_FINAL].bool_param if _EMPTY_FINAL in request.parameters else False
        request.parameters[_EMPTY_FINAL].bool_param = True
        call = self._server.stream_infer(timeout=timeout_s(), metadata=self._metadata)
        lone = LoneCall(call)
        try:
            async for answer in lone.answers(request):
                _tell(answer.error_message, asking)
                if wanted or not _is_empty(answer):
                    await self._add(answer.SerializeToString())
            self.trailers = tuple(await call.trailing_metadata() or ())
        finally:
            lone.cancel()

    async def _read_shared(self, call: Any) -> None:
        try:
            async for answer in call:
                if self._unanswered:
                    asking = self._unanswered.popleft()
                    if failures.DEAD_PROCESS_MARK in answer:
                        _tell(pb.ModelStreamInferResponse.FromString(answer).error_message, asking)
                    asking.end()
                await self._add(answer)
            self.trailers = tuple(await call.trailing_metadata() or ())
        finally:
            call.cancel()
        if not self._half_closed:
            self.cut()  # The server ended it, and so the stream.

    async def _add(self, answer: bytes) -> None:
        await self._room.acquire()
        self._arrived.put_nowait(answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, Exception):
            self._arrived.put_nowait(failure)
        elif not self._tasks:
            self._arrived.put_nowait(None)


def _is_empty(answer: Any) -> bool:
    return not answer.error_message and not answer.infer_response.outputs


def _tell(error_message: str, asking: Asking) -> None:
    """What an answer says of its model. A failure for another reason than its death may be the request's."""
    if not error_message:
        asking.produced()
    elif failures.dead_process(error_message) is not None:
        asking.end(model_unavailable(str(failures.dead_process(error_message)), "its process died"))
