"""rag as a process: killed anywhere, it leaves nothing half-written behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from qdrant_client import AsyncQdrantClient

from libs.parts.processes import RunningPart, python_environment, start_part, wait_until
from libs.testing.eventually import eventually
from libs.testing.parts import QDRANT_API_KEY
from libs.testing.serving import KEY, Served, serving
from services.rag.tests.conftest import redis_url
from services.rag.tests.neighbours import Embedding, Generation, embedding_component, generation_component
from services.rag.tests.served import Caller, caller, reason_of
from weft.rag.v1 import document_service_pb2

MAX_RESIDENT_BYTES = 170 << 20
PARAGRAPHS = 150
LONG = "\n\n".join(
    f"Needle paragraph {number} of a long text " + "with many words " * 60 for number in range(PARAGRAPHS)
)


@contextmanager
def process(settings: dict[str, str], log: Path) -> Iterator[tuple[RunningPart, Served]]:
    """`python -m services.rag`, ready."""
    part = start_part(
        "rag", [sys.executable, "-m", "services.rag"], log=log, environment=python_environment() | settings
    )

    def address() -> str | None:
        for line in part.written().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "ready":
                return str(event["address"])
        return None

    try:
        yield part, Served(wait_until(part, address, 30.0), KEY)
    finally:
        part.stop()


@asynccontextmanager
async def neighbours(
    redis: RunningPart, qdrant: RunningPart, tokenizer_file: Path, folder: Path
) -> AsyncIterator[tuple[dict[str, str], Embedding]]:
    """What rag needs around it, and the settings that say where it is."""
    key_file = folder / "context.key"
    key_file.write_text(KEY.hex())
    key_file.chmod(0o600)
    embedding = Embedding()
    async with (
        serving(embedding_component(embedding)) as embedder,
        serving(generation_component(Generation())) as generator,
    ):
        settings = {
            "LISTEN": "127.0.0.1:0",
            "CONTEXT_KEY_FILE": str(key_file),
            "REDIS_URL": redis_url(redis),
            "QDRANT_ADDRESS": qdrant.address,
            "QDRANT_API_KEY": QDRANT_API_KEY,
            "EMBEDDING_ADDRESS": embedder.address,
            "INFERENCE_ADDRESS": generator.address,
            "TOKENIZER_FILE": str(tokenizer_file),
            "SWEEP_EVERY_S": "0.1",
            "SWEEP_GRACE_S": "0",
            "INGEST_LEASE_S": "2",
        }
        yield {f"WEFT_RAG_{name}": value for name, value in settings.items()}, embedding


async def points_of(qdrant: AsyncQdrantClient, tenant: str) -> int:
    """How many points of a tenant Qdrant has, whatever they belong to."""
    found = 0
    for collection in (await qdrant.get_collections()).collections:
        page, _ = await qdrant.scroll(collection.name, limit=10_000)
        found += sum((point.payload or {}).get("tenant") == tenant for point in page)
    return found


async def needles(tenant: Caller) -> list[str]:
    """The texts with the word that all versions have."""
    return [text for text in await tenant.found("c", "needle", top_k=100) if "eedle" in text]


async def test_a_kill_in_the_middle_of_an_ingest_leaves_the_old_version(
    redis_server: RunningPart,
    qdrant_server: RunningPart,
    qdrant: AsyncQdrantClient,
    tokenizer_file: Path,
    tmp_path: Path,
) -> None:
    """After kill -9 the old version is found, the new one's passages never are, and are swept; then all goes on."""
    tenant_name = f"killed-{os.getpid()}-{tmp_path.name}"
    async with neighbours(redis_server, qdrant_server, tokenizer_file, tmp_path) as (settings, embedding):
        with process(settings, tmp_path / "first.log") as (part, served):
            async with caller(served, tenant_name) as tenant:
                await tenant.create("c")
                await tenant.put("c", "d", "The old needle")
                embedding.calls_left = 2
                ingest = asyncio.create_task(tenant.put("c", "d", LONG))
                await embedding.hanging.wait()
                assert await points_of(qdrant, tenant_name) > 100, "passages of the new version are there already"
                os.kill(part.pid, signal.SIGKILL)
                with pytest.raises(grpc.aio.AioRpcError):
                    await ingest
        embedding.go_on.set()
        embedding.calls_left = 1 << 30
        with process(settings, tmp_path / "second.log") as (part, served):
            async with caller(served, tenant_name) as tenant:
                assert await needles(tenant) == ["The old needle"]

                async def is_swept() -> bool:
                    assert await needles(tenant) == ["The old needle"]
                    return await points_of(qdrant, tenant_name) == 1

                await eventually(is_swept, within_s=20)
                again = await tenant.put("c", "d", LONG)
                assert again.outcome == document_service_pb2.INGEST_OUTCOME_REPLACED
                assert len(await needles(tenant)) == 100
                await eventually(lambda: _is(points_of(qdrant, tenant_name), again.document.passage_count))


async def test_kills_at_any_moment_never_bring_back_what_is_gone(
    redis_server: RunningPart, qdrant_server: RunningPart, tokenizer_file: Path, tmp_path: Path
) -> None:
    """rag is killed under writers, again and again: what was acknowledged holds, at most one version is found."""
    async with neighbours(redis_server, qdrant_server, tokenizer_file, tmp_path) as (settings, _):
        tenant_name = f"kills-{os.getpid()}-{tmp_path.name}"
        acknowledged: dict[str, int] = {}
        attempted: dict[str, int] = {}

        async def write(tenant: Caller, document_id: str) -> None:
            """Even revisions are texts, odd ones deletions; ends when rag does."""
            try:
                while True:
                    revision = attempted[document_id] = attempted.get(document_id, -1) + 1
                    try:
                        if revision % 2:
                            await tenant.delete("c", document_id)
                        else:
                            await tenant.put("c", document_id, f"needle {document_id} {revision}")
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.NOT_FOUND:
                            raise
                    acknowledged[document_id] = revision
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error

        for number in range(4):
            with process(settings, tmp_path / f"{number}.log") as (part, served):
                async with caller(served, tenant_name) as tenant:
                    if not number:
                        await tenant.create("c")
                    revisions = {text.split()[1]: int(text.split()[2]) for text in await needles(tenant)}
                    assert len(revisions) == len(await needles(tenant))
                    for document_id, revision in acknowledged.items():
                        last = attempted[document_id]
                        allowed = {given for given in range(revision, last + 1) if given % 2 == 0}
                        found = revisions.get(document_id)
                        assert found in allowed or (found is None and (revision % 2 or last % 2)), document_id
                    done = sum(attempted.values())
                    writers = [asyncio.create_task(write(tenant, f"d{each}")) for each in range(4)]
                    await eventually(lambda done=done: sum(attempted.values()) > done + 40)  # type: ignore[misc]
                    os.kill(part.pid, signal.SIGKILL)
                    await asyncio.gather(*writers)


async def test_health_follows_what_each_service_needs(
    redis_server: RunningPart, qdrant_server: RunningPart, tokenizer_file: Path, tmp_path: Path
) -> None:
    """The process serves at once; documents need the embedding service, answers inference, searches neither."""
    async with neighbours(redis_server, qdrant_server, tokenizer_file, tmp_path) as (settings, _):
        settings |= {"WEFT_RAG_EMBEDDING_ADDRESS": "127.0.0.1:1"}
        with process(settings, tmp_path / "rag.log") as (part, served):
            async with grpc.aio.insecure_channel(served.address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)

                async def state(service: str) -> int:
                    request = health_pb2.HealthCheckRequest(service=service)
                    response = await stub.Check(request)  # type: ignore[attr-defined]
                    return int(response.status)

                assert await state("") == health_pb2.HealthCheckResponse.SERVING
                for service in ("Search", "Collection", "Answer"):
                    name = f"weft.rag.v1.{service}Service"
                    await eventually(lambda name=name: _is(state(name), 1))  # type: ignore[misc]
                assert await state("weft.rag.v1.DocumentService") == health_pb2.HealthCheckResponse.NOT_SERVING
            resident = psutil.Process(part.pid).memory_info().rss
            print(f"rag, idle: {resident / (1 << 20):.0f} MiB resident")
            assert resident < MAX_RESIDENT_BYTES
            assert part.stop() == 0


async def test_dead_stores_are_told_as_unavailable(tokenizer_file: Path, tmp_path: Path) -> None:
    """Without Redis every call is UNAVAILABLE with the dependency's name, at once, and nothing is INTERNAL."""
    dead = RunningPart("dead", "127.0.0.1:1", None, tmp_path, 0)  # type: ignore[arg-type]
    async with neighbours(dead, dead, tokenizer_file, tmp_path) as (settings, _):
        with process(settings, tmp_path / "rag.log") as (_, served):
            async with caller(served) as tenant:
                for call in (tenant.create("c"), tenant.search("c", "x"), tenant.put("c", "d", "x")):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    assert reason_of(caught.value) == "DEPENDENCY_UNAVAILABLE"


async def _is(value: object, expected: object) -> bool:
    return await value == expected  # type: ignore[misc, no-any-return]
