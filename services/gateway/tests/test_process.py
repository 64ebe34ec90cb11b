"""The gateway as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest

from libs.rpc.server import Component
from libs.testing.eventually import eventually
from libs.testing.serving import serving
from services.gateway.tests.signers import AUDIENCE, ISSUER
from services.gateway.tests.world import Embedding, Gateway, KeyFiles, Seen
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.embedding.v1.embedding_service_pb2 import EmbedRequest

MAX_RESIDENT_BYTES = 128 << 20
"""Redis' client alone is 30 MiB."""
PYTHONPATH = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


def issuer(jwks: object) -> dict[str, str]:
    return {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(jwks)}


def environment(key_files: KeyFiles, embedding: str) -> dict[str, str]:
    return {
        "WEFT_GATEWAY_LISTEN": "127.0.0.1:0",
        "WEFT_GATEWAY_CONTEXT_KEY_FILE": str(key_files.context_key),
        "WEFT_GATEWAY_ISSUERS": json.dumps([issuer(key_files.jwks)]),
        "WEFT_GATEWAY_PLANS_FILE": str(key_files.plans),
        "WEFT_GATEWAY_REDIS_URL": key_files.redis_url,
        "WEFT_GATEWAY_UPSTREAMS__RAG": "127.0.0.1:1",
        "WEFT_GATEWAY_UPSTREAMS__EMBEDDING": embedding,
        "WEFT_GATEWAY_UPSTREAMS__INFERENCE": "127.0.0.1:1",
    }


@asynccontextmanager
async def process(settings: Mapping[str, str]) -> AsyncIterator[Process]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"),
        env={**ours, **settings, "PYTHONPATH": PYTHONPATH},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def event(started: Process, name: str) -> dict[str, Any]:
    """Reads log lines up to the first of this event."""
    assert started.stdout is not None
    async for line in started.stdout:
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == name:
            return entry
    raise AssertionError(f"the process ended without the event {name}")


async def test_a_gateway_serves_small_and_stops_gracefully(key_files: KeyFiles) -> None:
    """It says where it listens, logs a call with its ids, takes 128 MiB or less, cuts nothing in flight at SIGTERM."""
    seen = Seen()
    component = Component(servicers=[(embedding_grpc.add_EmbeddingServiceServicer_to_server, Embedding(seen))])
    async with (
        serving(component) as embedding,
        process(environment(key_files, embedding.address)) as started,
    ):
        address = (await event(started, "ready"))["address"]
        async with grpc.aio.insecure_channel(address) as channel:
            gateway = Gateway(address, channel, seen, {})
            call: Any = gateway.channel.unary_unary("/weft.embedding.v1.EmbeddingService/Embed")
            await call(EmbedRequest(texts=["a"]).SerializeToString(), metadata=gateway.bearer())
            logged = await event(started, "call")
            assert (logged["request_id"], logged["call_id"]) == (seen.contexts[0].request_id, seen.contexts[0].call_id)
            assert (logged["tenant"], logged["code"]) == ("acme", "OK")
            assert psutil.Process(started.pid).memory_info().rss <= MAX_RESIDENT_BYTES
            waiting = call(EmbedRequest(texts=["wait"]).SerializeToString(), metadata=gateway.bearer())
            await eventually(lambda: len(seen.contexts) == 2)
            started.send_signal(signal.SIGTERM)
            await event(started, "stopping")
            seen.go_on.set()
            assert await waiting
        assert await started.wait() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEFT_GATEWAY_UPSTREAMS__RAG", None),
        ("WEFT_GATEWAY_UPSTREAMS__RAG", "nowhere"),
        ("WEFT_GATEWAY_UPSTREAM__RAG", "127.0.0.1:1"),
        ("WEFT_GATEWAY_UPSTREAMS__VISION", "127.0.0.1:1"),
        ("WEFT_GATEWAY_ISSUERS", json.dumps([issuer("/nonexistent/jwks.json")])),
        ("WEFT_GATEWAY_ISSUERS", "weft-local"),
        ("WEFT_GATEWAY_ISSUERS", "[]"),
        ("WEFT_GATEWAY_ISSUERS", '[{"issuer": "a"}]'),
        ("WEFT_GATEWAY_ISSUERS", '[{"issuer": "http://id.example.com", "audience": "weft"}]'),
        ("WEFT_GATEWAY_CONTEXT_KEY_FILE", "/nonexistent/context.key"),
    ],
)
async def test_a_bad_setting_is_named(key_files: KeyFiles, name: str, value: str | None) -> None:
    """What is missing, wrong or unknown ends the start with 2 and one message, which names it; no traceback."""
    settings: dict[str, str | None] = {**environment(key_files, "127.0.0.1:1"), name: value}
    async with process({key: text for key, text in settings.items() if text is not None}) as started:
        _, errors = await started.communicate()
    assert started.returncode == 2
    told = errors.decode()
    assert name in told or (value is not None and value.startswith("/") and value in told)
    assert "Traceback" not in told
