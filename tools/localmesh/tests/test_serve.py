"""Files handed to Envoy over a socket: at once where they are others, and when they become so."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.testing.eventually import eventually
from tools.localmesh.envoy.sources import SOCKET, resource_file
from tools.localmesh.serve import AGAIN_AFTER_S, Server

NAME = "inbound|50051@rag-0"


class Asked:
    """A server over some files, and an Envoy that asks it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, bytes] = {}
        self._looks = 0
        self.server = Server(folder, folder, self._content)

    def _content(self, file: Path) -> bytes | None:
        self._looks += 1
        return self._files.get(file)

    def put(self, version: str) -> None:
        """The routes become another version."""
        made = {"version_info": version, "resources": []}
        self._files[resource_file(self._folder, "rds", NAME)] = json.dumps(made).encode()
        self.server.changed()

    async def waiting(self) -> asyncio.Task[str]:
        """Of an Envoy that has asked before there was anything, and that the server has found nothing for."""
        looks = self._looks
        task = asyncio.create_task(self.ask(""))
        await eventually(lambda: self._looks > looks)
        return task

    async def ask(self, version: str, name: str = NAME) -> str:
        """For the routes, having a version; which version is the answer."""
        reader, writer = await asyncio.open_unix_connection(str(self._folder / SOCKET))
        try:
            body = json.dumps({"version_info": version, "resource_names": [name]}).encode()
            writer.write(b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
            size = int(head.decode().lower().partition("content-length:")[2].split("\r\n")[0])
            return str(json.loads(await reader.readexactly(size))["version_info"])
        finally:
            writer.close()


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    """A server that answers."""
    found = Asked(tmp_path)
    await found.server.start()
    yield found
    await found.server.stop()


async def test_what_is_new_at_once(asked: Asked) -> None:
    """Whoever has nothing, or another version, is given the one there is."""
    asked.put("1")
    assert await asked.ask("") == "1"
    asked.put("2")
    assert await asked.ask("1") == "2"


async def test_what_becomes_new(asked: Asked) -> None:
    """Whoever has all there is, or asks for what there is none of, waits until there is."""
    early = await asked.waiting()
    done, _ = await asyncio.wait([early], timeout=0.2)
    assert not done
    asked.put("1")
    assert await early == "1"
    waiting = asyncio.create_task(asked.ask("1"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    asked.put("2")
    assert await waiting == "2"


async def test_what_is_not_taken(asked: Asked) -> None:
    """Who was given a version, and asks again without having it, is given it again, and not as fast as it asks."""
    asked.put("1")
    assert await asked.ask("0") == "1"
    began = asyncio.get_running_loop().time()
    assert await asked.ask("0") == "1"
    assert asyncio.get_running_loop().time() - began > AGAIN_AFTER_S / 2


async def test_nobody_else_may_ask(asked: Asked, tmp_path: Path) -> None:
    """The socket is its owner's."""
    assert (tmp_path / SOCKET).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 10\r\n\r\n{",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 1\r\n\r\n{",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]",
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 20\r\n\r\n" + b'{"resource_names":1}',
        b"POST /v3/discovery:routes HTTP/1.1\r\ncontent-length: 9999\r\n\r\n" + b"[" * 9999,
        b"POST /v3/discovery:nothing HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
        b"x" * (1 << 21),
    ],
)
async def test_what_envoy_never_says(asked: Asked, tmp_path: Path, said: bytes) -> None:
    """Whoever says it is hung up on, nobody is told of an error, and the next is answered."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
    with contextlib.suppress(ConnectionError):
        writer.write(said)
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    asked.put("1")
    assert await asked.ask("") == "1"
    gc.collect()  # only then a task that has failed says so
    assert errors == []


async def test_who_hangs_up_is_forgotten(asked: Asked) -> None:
    """A connection that is reset while it waits for an answer is no error either."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    waiting = await asked.waiting()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    asked.put("1")
    assert await asked.ask("") == "1"
    gc.collect()
    assert errors == []


async def test_a_stop_ends_all(tmp_path: Path) -> None:
    """Who waits is hung up on, and the socket is gone."""
    found = Asked(tmp_path)
    await found.server.start()
    waiting = await found.waiting()
    await found.server.stop()
    with pytest.raises(asyncio.IncompleteReadError):
        await waiting
    assert not (tmp_path / SOCKET).exists()
