"""What stands behind a gateway under test, and who calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext
from libs.contracts import headers
from libs.errors.errors import NotFoundError, Reason, ResourceExhaustedError, UnavailableError
from libs.ledger.ledger import RedisLedger
from libs.rpc.call import current_call, depends, remaining_s
from libs.rpc.executions import executing
from libs.rpc.running import Context
from libs.rpc.server import Component
from libs.rpc.status import service_error_of
from libs.store.redis import connect
from libs.testing.serving import serving
from services.gateway.settings import GatewaySettings
from services.gateway.tests.signers import AUDIENCE, ISSUER, SIGNERS
from services.gateway.wiring import gateway as build_gateway
from weft.embedding.v1 import embedding_service_pb2 as embedding_pb
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.inference.v1 import generation_service_pb2 as generation_pb
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc


@dataclass
class Seen:
    """What a service behind the gateway saw."""

    contexts: list[CallContext] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    remaining_s: list[float] = field(default_factory=list)
    produced: int = 0
    ended: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    stamps: dict[str, str] = field(default_factory=dict)
    """What the answers to texts that begin with "keep" say that they depend on."""
    used_tokens: int = 0
    unavailable: bool = False

    def note(self, context: Context) -> None:
        self.contexts.append(current_call())
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.remaining_s.append(remaining_s())


class Embedding(embedding_grpc.EmbeddingServiceServicer):
    """Answers each text with its length; the first word says what else to do."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def Embed(self, request: embedding_pb.EmbedRequest, context: Context) -> embedding_pb.EmbedResponse:
        self._seen.note(context)
        order, _, rest = request.texts[0].partition(" ")
        try:
            if order == "hang":
                await asyncio.sleep(60)
            if "wait" in (order, rest):
                await self._seen.go_on.wait()
        finally:
            self._seen.ended += 1
        if order == "missing":
            raise NotFoundError(Reason.MODEL_NOT_FOUND, "no model m", metadata={"model": "m"})
        if self._seen.unavailable:
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, "no model m now", metadata={"model": "m"})
        if order == "use":
            async with executing("embed") as execution:
                may = execution.allowance_tokens
                used = int(rest) if may is None else min(int(rest), may)
                execution.used(input_tokens=used, output_tokens=0)
                self._seen.used_tokens += used
        if order == "keep":
            depends(self._seen.stamps)
        context.set_trailing_metadata((("x-own", "1"), ("own-bin", b"\x00\xff")))
        vectors = [embedding_pb.Embedding(values=[float(len(text))]) for text in request.texts]
        return embedding_pb.EmbedResponse(embeddings=vectors)


class Generation(generation_grpc.GenerationServiceServicer):
    """Streams as many deltas as the prompt says; `hang` and `flood` never end. Has no room for anything else."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def Generate(
        self, request: generation_pb.GenerateRequest, context: Context
    ) -> generation_pb.GenerateResponse:
        raise ResourceExhaustedError(Reason.OVERLOADED, "full", retry_after_s=2.5)

    async def StreamGenerate(
        self, request: generation_pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb.StreamGenerateResponse]:
        self._seen.note(context)
        order = request.prompt.messages[0].content
        try:
            for sequence in range(1 << 20 if order in ("hang", "flood") else int(order.split()[0])):
                text = "x" * (65536 if order == "flood" else 4)
                self._seen.produced += 1
                yield generation_pb.StreamGenerateResponse(sequence=sequence, delta=generation_pb.Delta(text=text))
                if order == "hang":
                    await asyncio.sleep(60)
            if order.endswith("fail"):
                raise NotFoundError(Reason.MODEL_NOT_FOUND, "no model m", metadata={"model": "m"})
        finally:
            self._seen.ended += 1


@dataclass(frozen=True)
class Gateway:
    """A running gateway and what is behind it."""

    address: str
    channel: Any
    seen: Seen
    upstreams: Mapping[str, str]

    def embed(self, *texts: str, metadata: Sequence[tuple[str, str | bytes]] | None = None, **claims: Any) -> Any:
        """A call of Embed with the metadata, a good token's where none is named."""
        body = embedding_pb.EmbedRequest(texts=texts).SerializeToString()
        sent = self.bearer(**claims) if metadata is None else metadata
        return self.channel.unary_unary("/weft.embedding.v1.EmbeddingService/Embed")(body, metadata=sent)

    def bearer(self, **claims: Any) -> tuple[tuple[str, str], ...]:
        """Metadata with a good token, but for `claims`."""
        return ((headers.AUTHORIZATION, f"Bearer {SIGNERS['EdDSA'].token(**claims)}"),)


@dataclass(frozen=True)
class KeyFiles:
    """What a gateway is given: files, and a Redis."""

    jwks: Path
    context_key: Path
    plans: Path
    redis_url: str


@asynccontextmanager
async def open_embedding(seen: Seen, redis_url: str) -> AsyncIterator[str]:
    """An embedding service that tells the ledger what it used; its address."""
    async with connect(redis_url) as redis:
        ledger = RedisLedger(redis)
        component = Component(
            servicers=[(embedding_grpc.add_EmbeddingServiceServicer_to_server, Embedding(seen))], accounts=ledger
        )
        async with serving(component) as served:
            yield served.address
        await ledger.aclose(5.0)


@asynccontextmanager
async def open_gateway(
    key_files: KeyFiles,
    seen: Seen,
    *,
    cache_ttl_s: float = 300.0,
    issuers: Sequence[Mapping[str, str]] = (),
    **upstreams: str,
) -> AsyncIterator[Gateway]:
    """A gateway before `upstreams`, and before nobody where none is named. It believes ISSUER, and `issuers` too."""
    nobody = dict.fromkeys(("rag", "embedding", "inference"), "127.0.0.1:1")
    settings = GatewaySettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "context_key_file": key_files.context_key,
            "issuers": [{"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": key_files.jwks}, *issuers],
            "plans_file": key_files.plans,
            "redis_url": key_files.redis_url,
            "cache_ttl_s": cache_ttl_s,
            "upstreams": {**nobody, **upstreams},
        }
    )
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with (
        build_gateway(settings) as component,
        serving(component) as served,
        grpc.aio.insecure_channel(served.address, options=options) as channel,
    ):
        yield Gateway(served.address, channel, seen, upstreams)


async def stream_infer(bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for body in bodies:
        yield body[::-1]
    context.set_trailing_metadata((("x-own", "1"),))


async def infer(body: bytes, context: Context) -> bytes:
    if body == b"fail":
        trailers = grpc.aio.Metadata(("x-own", "1"), ("own-bin", b"\x00\xff"), (headers.USED, "17"))
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers, "d\u00e9tails of Triton")
    return body[::-1]


@dataclass(frozen=True)
class Failure:
    """A failed call: its status code and text, its one ErrorInfo, its trailers."""

    code: str
    details: str
    reason: str
    metadata: dict[str, str]
    retry_after_s: float | None
    trailers: dict[str, Any]


async def failure_of(call: Any) -> Failure:
    """Awaits a unary call or reads a stream to its end; it must fail. Every failure carries a request id."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    error = raised.value
    trailers = dict(error.trailing_metadata() or ())
    assert trailers[headers.REQUEST_ID]
    ours = service_error_of(error)
    return Failure(
        code=error.code().name,
        details=error.details() or "",
        reason=ours.reason.value if ours else "",
        metadata=ours.metadata if ours else {},
        retry_after_s=ours.retry_after_s if ours else None,
        trailers=trailers,
    )
