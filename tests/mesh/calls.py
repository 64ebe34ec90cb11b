"""Calls of many methods by callers that try each only once: what fails, fails the test."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from libs.contracts import headers
from libs.contracts.open_inference import open_inference_pb2
from tests.mesh.running import RunningMesh
from weft.common.v1 import chat_message_pb2
from weft.embedding.v1 import embedding_service_pb2 as embedding
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.gateway.v1 import identity_service_pb2 as identity
from weft.gateway.v1 import identity_service_pb2_grpc as identity_grpc
from weft.inference.v1 import generation_service_pb2 as generation
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc
from weft.inference.v1 import model_service_pb2 as models
from weft.inference.v1 import model_service_pb2_grpc as models_grpc
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import answer_service_pb2_grpc as answers_grpc
from weft.rag.v1 import collection_service_pb2 as collections
from weft.rag.v1 import collection_service_pb2_grpc as collections_grpc
from weft.rag.v1 import document_pb2
from weft.rag.v1 import document_service_pb2 as documents
from weft.rag.v1 import document_service_pb2_grpc as documents_grpc
from weft.rag.v1 import search_service_pb2 as search
from weft.rag.v1 import search_service_pb2_grpc as search_grpc

COLLECTION = "looms"
DOCUMENT = "shuttle"
CONTENT = "Warp threads run along the loom. Weft threads cross them. A shuttle carries the weft. "
WITHIN_S = 60.0
PIECES = 5
PAUSE_S = 0.3
AT_A_TIME = 24
PACE_S = 0.03
"""Between a caller's calls under load: what is tested there needs the processor too."""

Call = Callable[[], Awaitable[object]]


class Caller:
    """Speaks for a tenant at the edge. Every call is tried once, whatever becomes of it, and none is answered from what
    the gateway has kept."""

    def __init__(self, channel: grpc.aio.Channel, token: str, more: Mapping[str, str] = {}) -> None:
        self.metadata = (
            (headers.AUTHORIZATION, f"Bearer {token}"),
            (headers.CACHE_CONTROL, "no-store"),
            *more.items(),
        )
        self._told: dict[str, Any] = {"metadata": self.metadata, "timeout": WITHIN_S}
        self.channel = channel
        self._collections = collections_grpc.CollectionServiceStub(channel)
        self._documents = documents_grpc.DocumentServiceStub(channel)
        self._generation = generation_grpc.GenerationServiceStub(channel)
        self._models = models_grpc.ModelServiceStub(channel)
        self._answers = answers_grpc.AnswerServiceStub(channel)
        self._numbers = itertools.count()

    async def ingest(self) -> None:
        """A collection with something to find, for the other calls."""
        await self._collections.CreateCollection(
            collections.CreateCollectionRequest(collection=COLLECTION, request_id=str(uuid.uuid4())), **self._told
        )
        await self._documents.IngestDocument(
            documents.IngestDocumentRequest(
                collection=COLLECTION,
                document_id=DOCUMENT,
                content=(CONTENT * 3).encode(),
                media_type=document_pb2.MEDIA_TYPE_PLAIN,
            ),
            **self._told,
        )

    async def who_am_i(self) -> object:
        return await identity_grpc.IdentityServiceStub(self.channel).WhoAmI(identity.WhoAmIRequest(), **self._told)

    async def create_collection(self) -> object:
        name = f"made-{uuid.uuid4().hex}"
        request = collections.CreateCollectionRequest(collection=name, request_id=str(uuid.uuid4()))
        return await self._collections.CreateCollection(request, **self._told)

    async def get_collection(self) -> object:
        return await self._collections.GetCollection(
            collections.GetCollectionRequest(collection=COLLECTION), **self._told
        )

    async def list_documents(self) -> object:
        return await self._documents.ListDocuments(documents.ListDocumentsRequest(collection=COLLECTION), **self._told)

    async def search(self) -> object:
        request = search.SearchRequest(collection=COLLECTION, query=f"what carries {next(self._numbers)} wefts?")
        return await search_grpc.SearchServiceStub(self.channel).Search(request, **self._told)

    async def embed(self) -> object:
        request = embedding.EmbedRequest(texts=[f"thread {next(self._numbers)}"])
        return await embedding_grpc.EmbeddingServiceStub(self.channel).Embed(request, **self._told)

    async def list_models(self) -> object:
        return await self._models.ListModels(models.ListModelsRequest(), **self._told)

    async def generate(self) -> object:
        return await self._generation.Generate(generation.GenerateRequest(prompt=self._prompt()), **self._told)

    async def stream_generate(self) -> object:
        request = generation.StreamGenerateRequest(prompt=self._prompt())
        return await _last(self._generation.StreamGenerate(request, **self._told))

    async def stream_answer(self) -> object:
        question = answers.Question(collection=COLLECTION, text=f"What carries weft {next(self._numbers)}?")
        return await _last(self._answers.StreamAnswer(answers.StreamAnswerRequest(question=question), **self._told))

    async def infer_stream(self, pieces: int = PIECES) -> object:
        """The Open Inference Protocol's: open for PAUSE_S seconds for each piece, with an answer to each."""
        call: Any = self.channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=open_inference_pb2().ModelStreamInferResponse.FromString,
        )(**self._told)
        for _ in range(pieces):
            with suppress(asyncio.InvalidStateError):  # It has ended: reading says how.
                await call.write(self._tensors())
            answer = await call.read()
            assert answer is not grpc.aio.EOF, await call.code()
            assert not answer.error_message, answer.error_message
            await asyncio.sleep(PAUSE_S)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        return answer

    def unary(self) -> list[Call]:
        """Methods of every service."""
        return [
            self.who_am_i,
            self.create_collection,
            self.get_collection,
            self.list_documents,
            self.search,
            self.embed,
            self.list_models,
            self.generate,
        ]

    def streaming(self) -> list[Call]:
        """Streams through every service."""
        return [self.infer_stream, self.stream_answer, self.infer_stream, self.stream_generate]

    def _prompt(self) -> generation.Prompt:
        text = f"Say {next(self._numbers)}."
        return generation.Prompt(
            messages=[chat_message_pb2.ChatMessage(role=chat_message_pb2.CHAT_ROLE_USER, content=text)]
        )

    def _tensors(self) -> Any:
        text = f"piece {next(self._numbers)}".encode()
        request = open_inference_pb2().ModelInferRequest(model_name="embed")
        request.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1])
        request.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
        return request


async def _last(call: Any) -> object:
    """Of a stream: its last message, which says that it is done."""
    messages = [message async for message in call]
    assert messages and messages[-1].WhichOneof("event") == "done", messages
    return messages[-1]


@asynccontextmanager
async def calling(mesh: RunningMesh, tenant: str = "tests", more: Mapping[str, str] = {}) -> AsyncIterator[Caller]:
    """A caller with a connection of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(mesh.address, options=options) as channel:
        yield Caller(channel, mesh.token(tenant=tenant), more)


@dataclass
class Load:
    """What became of calls: how many ended well, by method, and how the others ended."""

    good: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def call(self, call: Call) -> None:
        """One, to its end."""
        name = getattr(call, "__name__", str(call))
        try:
            await call()
        except (grpc.aio.AioRpcError, AssertionError) as error:
            self.failures.append(f"{name}: {told(error)}")
        else:
            self.good[name] += 1


@asynccontextmanager
async def under_load(*callers: Sequence[Call]) -> AsyncIterator[Load]:
    """While it is entered each of the callers goes round its calls; on leaving they end those that they have begun."""
    load, over = Load(), asyncio.Event()

    async def go_round(calls: Sequence[Call]) -> None:
        for call in itertools.cycle(calls):
            if over.is_set():
                return
            await load.call(call)
            await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as group:
        for calls in callers:
            group.create_task(go_round(calls))
        try:
            yield load
        finally:
            over.set()


async def many(call: Call, calls: int) -> Load:
    """So many of one kind, some at a time."""
    load, free = Load(), asyncio.Semaphore(AT_A_TIME)

    async def one() -> None:
        async with free:
            await load.call(call)

    await asyncio.gather(*(one() for _ in range(calls)))
    return load


def told(error: BaseException) -> str:
    """A failure in one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
