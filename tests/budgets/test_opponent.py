"""Budgets against an opponent: four gateways, hundreds of calls, callers that are slow or vanish, and kill -9."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from redis.asyncio import Redis

import weft.client
from libs.contracts import headers
from libs.testing.eventually import eventually
from tests.budgets.gateways import Books, Gateways, executed
from tests.conftest import RunningStack
from weft.common.v1 import chat_message_pb2
from weft.embedding.v1 import embedding_service_pb2 as embedding
from weft.inference.v1 import generation_service_pb2 as generation
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import collection_service_pb2 as collections
from weft.rag.v1 import document_pb2
from weft.rag.v1 import document_service_pb2 as documents

TENANT = "opponent"
BUDGET = 30_000
PLANS = f"""
currency: USD
prices:
  other: {{input: 1.00, output: 3.00}}
plans:
  metered:
    limits: none
    budgets: {{tenant: {{day: {{tokens: {BUDGET}, money: 1000}}}}}}
    open_calls: 1000
default_plan: metered
"""
GATEWAYS = 4
CALLS = 600
AT_A_TIME = 48
KILLS = 6
DEADLINE_S = 10.0
SETTLED_WITHIN_S = 60.0
SENTENCES = "Warp threads run along the loom. Weft threads cross them. A shuttle carries the weft. "


@pytest.fixture(scope="module")
async def redis(stack: RunningStack) -> AsyncIterator[Redis]:
    """The stack's own."""
    password = (stack.stack.folder("keys") / "redis.password").read_text().strip()
    client = Redis.from_url(f"redis://:{password}@{stack.stack.address('redis')}/0")
    yield client
    await client.aclose()


class Opponent:
    """Makes calls of every kind, through any gateway, and behaves badly in each way that a caller can."""

    def __init__(self, clients: list[weft.client.Client], seed: int) -> None:
        self._clients = clients
        self._random = random.Random(seed)
        self.ends: dict[str, int] = {}

    async def call(self) -> None:
        """One call to whatever end; none of them is the test's failure. Where a gateway is dead, another is asked."""
        for client in self._random.sample(self._clients, len(self._clients)):
            end = await self._end_of_one(client)
            self.ends[end] = self.ends.get(end, 0) + 1
            if end != "UNAVAILABLE":
                return

    async def _end_of_one(self, client: weft.client.Client) -> str:
        kind = self._random.choice((self._generate, self._generate, self._answer, self._embed))
        leaves_after_s = self._random.choice((None, None, None, 0.0, 0.002, 0.05, 0.3))
        try:
            async with asyncio.timeout(leaves_after_s):
                await kind(client)
        except TimeoutError:
            return "left"
        except weft.client.CallError as error:
            return error.reason or error.code.name
        return "ok"

    async def _generate(self, client: weft.client.Client) -> None:
        text = SENTENCES * self._random.randint(1, 20)
        message = chat_message_pb2.ChatMessage(role=chat_message_pb2.CHAT_ROLE_USER, content=f"{text}What is weft?")
        prompt = generation.Prompt(messages=[message])
        pause_s = self._random.choice((0.0, 0.0, 0.03))
        call = client.generation.StreamGenerate(
            generation.StreamGenerateRequest(prompt=prompt), timeout=DEADLINE_S, metadata=self._cap()
        )
        async for _ in call:
            await asyncio.sleep(pause_s)

    async def _answer(self, client: weft.client.Client) -> None:
        question = answers.Question(collection="looms", text=f"What does a shuttle carry? {self._random.random()}")
        call = client.answers.StreamAnswer(
            answers.StreamAnswerRequest(question=question), timeout=DEADLINE_S, metadata=self._cap()
        )
        async for _ in call:
            pass

    async def _embed(self, client: weft.client.Client) -> None:
        texts = [f"{SENTENCES} {self._random.random()}" for _ in range(self._random.randint(1, 30))]
        await client.embeddings.Embed(embedding.EmbedRequest(texts=texts), timeout=DEADLINE_S)

    def _cap(self) -> tuple[tuple[str, str], ...]:
        tokens = self._random.choice((5, 40, 400))
        return ((headers.MAX_TOKENS, str(tokens)),)


async def ingest(client: weft.client.Client) -> None:
    """A collection with something to answer from."""
    await client.collections.CreateCollection(collections.CreateCollectionRequest(collection="looms"))
    await client.documents.IngestDocument(
        documents.IngestDocumentRequest(
            collection="looms",
            document_id="shuttle",
            content=(SENTENCES * 3).encode(),
            media_type=document_pb2.MEDIA_TYPE_PLAIN,
        )
    )


@pytest.mark.timeout(300)
async def test_the_sum_is_exact(stack: RunningStack, redis: Redis, tmp_path: Path) -> None:
    """At no moment is more used and reserved than the budget allows; in the end what is charged is, to the token, what
    inference and embedding say that their models read and wrote, and nothing is left reserved."""
    books = Books(redis, TENANT)
    logs = [stack.stack.log(name) for name in ("inference", "embedding")]
    gateways = Gateways(stack.stack, tmp_path, PLANS, GATEWAYS)
    gateways.start()
    token = stack.token(tenant=TENANT)
    clients = [weft.client.connect(address, token=token) for address in gateways.addresses]
    opponent, most = Opponent(clients, seed=20), 0
    over = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not over.is_set():
            sums = await books.budget()
            most = max(most, sums.used + sums.reserved)
            await asyncio.sleep(0.01)

    async def kill() -> None:
        for number in range(KILLS):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(gateways.kill, number % GATEWAYS)

    try:
        await ingest(clients[0])
        free = asyncio.Semaphore(AT_A_TIME)

        async def one() -> None:
            async with free:
                await opponent.call()

        watching = asyncio.create_task(watch())
        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for _ in range(CALLS):
                group.create_task(one())
        await eventually(lambda: _none_open(books), SETTLED_WITHIN_S, every_s=0.2)
        over.set()
        await watching
    finally:
        over.set()
        with suppress(grpc.aio.UsageError):
            for client in clients:
                await client.close()
        await asyncio.to_thread(gateways.stop)

    sums = await books.budget()
    assert most <= BUDGET
    assert sums.reserved == 0
    assert sums.used == await books.recorded()
    assert sums.used == executed(logs, TENANT)
    assert {"ok", "left", "BUDGET_EXHAUSTED"} <= set(opponent.ends), opponent.ends


async def _none_open(books: Books) -> bool:
    return await books.open_calls() == 0
