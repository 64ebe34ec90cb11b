"""A ModelStreamInfer call of one request, ended in the way that Triton bears best."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc

_FINAL = "triton_final_response"
_finishing: set[asyncio.Task[None]] = set()


class LoneCall:
    """Triton may crash, for everybody, where a call is cancelled while answers are due, far more often where it is
    half-closed too; and one cancelled after its last answer may keep Triton from ending in time. So a call is
    half-closed after its last answer only, and from then on no longer cancelled: it is read to its end, whoever leaves.
    This makes the crash rare, not impossible: a caller who leaves earlier still has to stop the model.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._answered = False
        self._writing: asyncio.Future[None] | None = None

    def cancel(self) -> None:
        """Ends the call, unless it is about to end by itself."""
        if not self._answered:
            self._call.cancel()
            if self._writing is not None:
                # Of a call that was cancelled before its beginning was sent, grpcio's write would wait for ever.
                self._writing.cancel()

    async def answers(self, request: Any) -> AsyncGenerator[Any, None]:
        """The ModelStreamInferResponses, to the last. Raises AioRpcError.

        The request has to set `triton_enable_empty_final_response`, else the last one may not be known.
        """
        self._writing = asyncio.ensure_future(self._call.write(request))
        with suppress(asyncio.InvalidStateError):  # It has ended already: its status is read below.
            await self._writing
        async for answer in self._call:
            if is_last(answer):
                self._answered = True
                finishing = asyncio.create_task(self._finish())
                _finishing.add(finishing)
                finishing.add_done_callback(_finishing.discard)
                yield answer
                await asyncio.shield(finishing)
                return
            yield answer

    async def _finish(self) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
            async for _ in self._call:
                pass


def is_last(answer: Any) -> bool:
    """Whether nothing comes after it. Where Triton itself refuses a request, its one answer has no mark."""
    parameters = answer.infer_response.parameters
    return bool(parameters[_FINAL].bool_param) if _FINAL in parameters else bool(answer.error_message)
