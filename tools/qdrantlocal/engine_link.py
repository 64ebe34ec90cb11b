"""The front's end of the engine process: starts it, restarts it, and passes requests and replies as bytes."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time

from libs.parts.processes import python_environment
from libs.parts.tether import tethered
from tools.qdrantlocal.errors import Code
from tools.qdrantlocal.frames import READY_ID, Reply, Request, pack_request, take_replies

MAX_IN_FLIGHT = 512
MAX_IN_FLIGHT_BYTES = 128 << 20
MAX_FAILED_STARTS = 5
READY_WITHIN_S = 10.0
CLOSE_WITHIN_S = 30.0
HOPELESS = (os.EX_TEMPFAIL, os.EX_CONFIG)  # the folder is in use, or its catalogue cannot be read
SOCKET_BUFFER = 1 << 20


class EngineLink(asyncio.Protocol):
    """One engine process at a time. `ready` says whether it serves; `ended` gets its exit code when it is given up."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir
        self._ids = itertools.count(READY_ID + 1)
        self._pending: dict[int, tuple[asyncio.Future[Reply], int]] = {}
        self._pending_bytes = 0
        self._waiting = 0
        self._buffer = bytearray()
        self._failed_starts = 0
        self._stopping = False
        self._restarting: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Starts the engine process, tied to this thread. It serves when `ready` is set."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "tools.qdrantlocal.engine_process", str(descriptor), self._data_dir]
        self._process = subprocess.Popen(  # noqa: ASYNC220  (it takes a few milliseconds, and a thread would end)
            tethered(command),
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=os.environ | python_environment(),
        )
        theirs.close()
        ours.setblocking(False)
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    async def stop(self) -> None:
        """Lets the engine finish and flush what it has."""
        self._stopping = True
        if self._restarting:
            self._restarting.cancel()
        self._transport.close()
        try:
            await asyncio.to_thread(self._process.wait, CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def call(self, method: str, body: bytes, deadline_s: float) -> Reply:
        """The engine's reply; a refusal when too much is under way, when it is not ready, or when it dies meanwhile."""
        if len(self._pending) + self._waiting >= MAX_IN_FLIGHT or self._pending_bytes > MAX_IN_FLIGHT_BYTES:
            return _refusal(Code.RESOURCE_EXHAUSTED, "too many requests in flight; try again later")
        if not self.ready.is_set() and not await self._wait_ready(deadline_s):
            return _refusal(Code.UNAVAILABLE, "the engine process is not ready")
        request = Request(next(self._ids), method, body, deadline_s)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[request.id] = (
            answer,
            len(body),
        )  # until the reply: the engine works on what a caller has given up
        self._pending_bytes += len(body)
        self._transport.write(pack_request(request))
        return await answer

    async def _wait_ready(self, deadline_s: float) -> bool:
        self._waiting += 1
        within_s = min(READY_WITHIN_S, deadline_s - time.monotonic()) if deadline_s else READY_WITHIN_S
        try:
            await asyncio.wait_for(self.ready.wait(), within_s)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return self.ready.is_set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for reply in take_replies(self._buffer):
            if reply.id == READY_ID:
                self._failed_starts = 0
                self.ready.set()
            else:
                self._settle(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready.clear()
        self._buffer.clear()
        text = b"the engine process died; whether a write was done is unknown"
        for request_id in list(self._pending):
            self._settle(Reply(request_id, Code.UNAVAILABLE, text))
        if not self._stopping:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    def _settle(self, reply: Reply) -> None:
        answer, size = self._pending.pop(reply.id)
        self._pending_bytes -= size
        if not answer.done():
            answer.set_result(reply)

    async def _restart(self) -> None:
        """Starts the next engine process after a growing wait, or gives up: at once where no start can help."""
        exit_code = await asyncio.to_thread(self._process.wait)
        self._failed_starts += 1
        if exit_code in HOPELESS or self._failed_starts >= MAX_FAILED_STARTS:
            self.ended.set_result(exit_code)
            return
        print(f"the engine process ended with {exit_code}; starting it again", file=sys.stderr, flush=True)
        await asyncio.sleep(0.05 * self._failed_starts)
        await self.start()


def _refusal(code: Code, text: str) -> Reply:
    return Reply(READY_ID, code, text.encode())
