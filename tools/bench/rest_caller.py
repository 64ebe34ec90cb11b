"""A caller by REST, with server-sent events for streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

MOST_BYTES = 1 << 20
END_OF_EVENT = b"\n\n"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


class RestCaller:
    """Asks over HTTP/1.1, on a connection of its own that it keeps. `request` is such as "GET /v1/models"."""

    def __init__(self, address: str, request: str, body: bytes, metadata: Sequence[tuple[str, str]]) -> None:
        self._host, _, self._port = address.rpartition(":")
        lines = [f"{request} HTTP/1.1", f"host: {address}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in metadata]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._both: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> AsyncIterator[int]:
        """Asks once; how many events end in each piece of the answer, as it comes. Raises RuntimeError for an answer
        that is not 200."""
        if self._both is None:
            self._both = await asyncio.open_connection(self._host, int(self._port), limit=MOST_BYTES)
        reader, writer = self._both
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length, last = _LENGTH.search(head), b""
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        while True:
            size = int(length[1] if length else await reader.readline(), base=10 if length else 16)
            piece = await reader.readexactly(size)
            if not length:
                await reader.readline()
            # An event's end may be cut in two.
            yield (last + piece).count(END_OF_EVENT)
            last = piece[-1:]
            if length or not size:
                return

    def close(self) -> None:
        """Hangs up."""
        if self._both is not None:
            self._both[1].close()
