"""A gateway in this process, before real servers of the real contracts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.parts.processes import RunningPart
from libs.rpc.server import Component
from libs.testing.parts import REDIS_PASSWORD
from libs.testing.serving import KEY, serving
from services.gateway.tests.signers import SIGNERS
from services.gateway.tests.world import (
    Gateway,
    Generation,
    KeyFiles,
    Seen,
    infer,
    open_embedding,
    open_gateway,
    stream_infer,
)
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc

PLANS = """
plans:
  free: {limits: {tenant: none}, highest_priority: high, fallback: true, open_calls: 1000}
default_plan: free
"""


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory, redis_server: RunningPart) -> KeyFiles:
    """Public keys of every kind, the context key that the servers behind the gateway have, a plan without limits, and
    the Redis that all tests share."""
    folder: Path = tmp_path_factory.mktemp("keys")
    files = KeyFiles(
        jwks=folder / "jwks.json",
        context_key=folder / "context.key",
        plans=folder / "plans.yaml",
        redis_url=f"redis://:{REDIS_PASSWORD}@{redis_server.address}/0",
    )
    files.plans.write_text(PLANS)
    files.jwks.write_text(json.dumps({"keys": [signer.jwk() for signer in SIGNERS.values()]}))
    files.context_key.write_text(KEY.hex())
    return files


@pytest.fixture(scope="session")
async def shared_gateway(key_files: KeyFiles) -> AsyncIterator[Gateway]:
    """Embedding and inference are there; nobody listens where rag should be."""
    seen = Seen()
    inference = Component(
        servicers=[(generation_grpc.add_GenerationServiceServicer_to_server, Generation(seen))],
        passthrough={
            "/inference.GRPCInferenceService/ModelInfer": infer,
            "/inference.GRPCInferenceService/ModelStreamInfer": stream_infer,
        },
    )
    async with (
        open_embedding(seen, key_files.redis_url) as at_embedding,
        serving(inference) as at_inference,
        open_gateway(key_files, seen, embedding=at_embedding, inference=at_inference.address) as gateway,
    ):
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """The gateway, with nothing seen yet behind it."""
    seen = shared_gateway.seen
    for noted in (seen.contexts, seen.metadata, seen.remaining_s):
        noted.clear()
    seen.produced = seen.ended = seen.used_tokens = 0
    seen.unavailable = False
    return shared_gateway
