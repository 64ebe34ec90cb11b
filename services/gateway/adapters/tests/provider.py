"""An identity provider: a real HTTP server that publishes keys, and rotates them, fails and dawdles when told to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from services.gateway.tests.signers import Signer

JWKS = "/keys.json"
DISCOVERY = "/.well-known/openid-configuration"


class Provider:
    """Answers GET. `signers`: whose keys it publishes now. `asked`: how often each path was asked for."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = signers
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.body: bytes | None = None
        self.discovery: dict[str, Any] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.url = ""

    @property
    def jwks_url(self) -> str:
        return self.url + JWKS

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.asked[path] += 1
            await self.go_on.wait()
            body = self._body(path)
            writer.write(f"HTTP/1.1 {self.status} Told\r\ncontent-length: {len(body)}\r\n".encode())
            writer.write(b"location: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    def _body(self, path: str) -> bytes:
        if path == DISCOVERY:
            return json.dumps({"issuer": self.url, "jwks_uri": self.jwks_url, **self.discovery}).encode()
        if self.body is not None:
            return self.body
        return json.dumps({"keys": [signer.jwk() for signer in self.signers]}).encode()


@asynccontextmanager
async def serving_provider(*signers: Signer, port: int = 0) -> AsyncIterator[Provider]:
    """On loopback while entered."""
    provider = Provider(*signers)
    server = await asyncio.start_server(provider.answer, "127.0.0.1", port)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        provider.go_on.set()
        server.close()
        await server.wait_closed()
