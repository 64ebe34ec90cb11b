"""Hands Envoy the files of the xDS folder over a socket. What it follows itself costs an inotify instance for each
file, of which Linux gives a user 128 for all that runs.

This is xDS over REST (POST /v3/discovery:KIND): each request says what is asked for and which version of it Envoy has,
and is answered when there is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tools.localmesh.envoy.sources import ANSWER_WITHIN_S, KINDS, SOCKET, Kind, resource_file

MOST_REQUEST_BYTES = 1 << 20
AGAIN_AFTER_S = 1.0
"""What Envoy was just given, and yet does not have, it does not take: it is not asked more often than so."""

ASKED_EVERY_S = 0.02

_NOTHING_NEW = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n"

Content = Callable[[Path], bytes | None]
"""What is to be known of a file of the folder: a DiscoveryResponse in JSON."""


class Server:
    """`await start()`, then `await stop()`. Whoever changes a file says so by `changed`."""

    def __init__(self, folder: Path, envoy: Path, content: Content) -> None:
        """`folder` is the xDS folder, `envoy` Envoy's working folder (`libs.parts.envoy`), where the socket is."""
        self._folder = folder
        self._envoy = envoy
        self._content = content
        self._waiting: set[asyncio.Future[None]] = set()
        self._given: dict[Path, tuple[str, float]] = {}
        self._taken: dict[Path, str] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises OSError where the socket cannot be made."""
        listening = socket.socket(socket.AF_UNIX)
        # However long the folder's path is.
        handle = os.open(self._envoy, os.O_PATH | os.O_DIRECTORY)
        try:
            (self._envoy / SOCKET).unlink(missing_ok=True)
            listening.bind(f"/proc/self/fd/{handle}/{SOCKET}")
        finally:
            os.close(handle)
        (self._envoy / SOCKET).chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MOST_REQUEST_BYTES)

    async def stop(self) -> None:
        """Ends all that waits."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        (self._envoy / SOCKET).unlink(missing_ok=True)

    def changed(self) -> None:
        """Some file is another."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def endpoints_taken(self, within_s: float) -> None:
        """Returns when Envoy has said that it has the endpoints of all clusters as they are, or after so long: then it
        is away, or does not take them."""
        deadline = time.monotonic() + within_s
        while self._behind() and time.monotonic() < deadline:  # noqa: ASYNC110  it is many files that are asked for
            await asyncio.sleep(ASKED_EVERY_S)

    def _behind(self) -> bool:
        known = ((self._content(path), has) for path, has in self._taken.items() if path.parent.name == "eds")
        return any(content is not None and _version(content) != has for content, has in known)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            # Envoy has hung up, or it is not Envoy that asks.
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, _NoRequestError):
                while True:
                    kind, name, version = await _request(reader)
                    writer.write(await self._answer(resource_file(self._folder, kind, name), version))
                    await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, path: Path, version: str) -> bytes:
        self._taken[path] = version
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while (left := deadline - time.monotonic()) > 0:
            content = self._content(path)
            offered = "" if content is None else _version(content)
            if content is not None and offered != version:
                given, since = self._given.get(path, ("", 0.0))
                pause = since + AGAIN_AFTER_S - time.monotonic() if given == offered else 0.0
                if pause <= 0:
                    self._given[path] = (offered, time.monotonic())
                    return _good(content)
                left = min(left, pause)
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            await asyncio.wait([waiting], timeout=left)
            self._waiting.discard(waiting)
        return _NOTHING_NEW


class _NoRequestError(Exception):
    """What Envoy never says."""


async def _request(reader: asyncio.StreamReader) -> tuple[Kind, str, str]:
    """What is asked for, its name ("" where there is only one), and the version that Envoy has.

    Raises _NoRequestError, and what a reader raises.
    """
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = fields.get("content-length", "0")
    if not (size.isascii() and size.isdigit()) or int(size) > MOST_REQUEST_BYTES:
        raise _NoRequestError(f"content-length: {size}")
    body = await reader.readexactly(int(size))
    try:
        said = json.loads(body)
        kind = KINDS[first.split(" ")[1].rpartition(":")[2]]
        return kind, str(next(iter(said.get("resource_names", ())), "")), str(said.get("version_info", ""))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise _NoRequestError(first) from error


def _version(content: bytes) -> str:
    return str(json.loads(content)["version_info"])


def _good(content: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content
