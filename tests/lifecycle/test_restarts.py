"""Restarts of a stack in use, one replica of a service: what is asked for costs no call, what is killed comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import grpc
import pytest

from libs.testing.eventually import eventually
from tests.lifecycle.whole_stack import SERVICES, WholeStack
from tools.stack.setup import SAMPLE_COLLECTION
from weft.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from weft.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from weft.rag.v1 import answer_service_pb2, answer_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc

Call = Callable[[], Awaitable[object]]
QUESTION = answer_service_pb2.Question(collection=SAMPLE_COLLECTION, text="What is hybrid search?")
LOWLY = ("x-weft-priority", "low")
"""As the gateway says it to the mesh: such a call goes to the standard replicas."""
WITHIN_S = 30.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    """A stack that runs from the first `up` on."""
    stack = WholeStack(tmp_path_factory.mktemp("restarts") / "state")
    yield stack
    stack.run("down")
    assert stack.left_processes() == []


class Load:
    """Calls without an end, one after the other of each kind; `failed` has every status that was not OK."""

    def __init__(self) -> None:
        self.well: Counter[str] = Counter()
        self.failed: list[str] = []

    async def go_on(self, kind: str, call: Call) -> None:
        while True:
            try:
                await call()
                self.well[kind] += 1
            except grpc.aio.AioRpcError as error:
                self.failed.append(f"{kind}: {error.code().name} {error.details()}")


@asynccontextmanager
async def load(whole: WholeStack) -> AsyncIterator[Load]:
    """While it is entered. No client tries a call again."""
    found = Load()
    async with grpc.aio.insecure_channel(whole.entry, options=[("grpc.enable_retries", 0)]) as channel:
        tasks = [asyncio.create_task(found.go_on(kind, call)) for kind, call in calls(whole, channel).items()]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def calls(whole: WholeStack, channel: grpc.aio.Channel) -> Mapping[str, Call]:
    """Of every service, a stream among them, of high priority and of low."""
    token = ("authorization", f"Bearer {whole.key('developer.token')}")
    fresh = ("cache-control", "no-cache")
    identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
    embeddings = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
    search = search_service_pb2_grpc.SearchServiceStub(channel)
    answers = answer_service_pb2_grpc.AnswerServiceStub(channel)

    def answered(*metadata: tuple[str, str]) -> Call:
        async def call() -> None:
            request = answer_service_pb2.StreamAnswerRequest(question=QUESTION)
            async for _ in answers.StreamAnswer(request, timeout=WITHIN_S, metadata=(token, *metadata)):
                pass

        return call

    asked = search_service_pb2.SearchRequest(collection=SAMPLE_COLLECTION, query="hybrid search")
    embedded = embedding_service_pb2.EmbedRequest(texts=["hybrid search"])
    who = identity_service_pb2.WhoAmIRequest()
    return {
        "who": lambda: identity.WhoAmI(who, timeout=WITHIN_S, metadata=(token,)),
        "embed": lambda: embeddings.Embed(embedded, timeout=WITHIN_S, metadata=(token, fresh)),
        "search": lambda: search.Search(asked, timeout=WITHIN_S, metadata=(token, fresh)),
        "answer": answered(),
        "answer, low": answered(LOWLY),
    }


@pytest.mark.parametrize("service", [*SERVICES, "mesh"])
async def test_a_restart_costs_no_call(whole: WholeStack, service: str) -> None:
    """Of each service in turn, and of the mesh's controller: each call and each stream ends well, at the first try."""
    before = whole.part(service, whole.up())
    async with load(whole) as under:
        await eventually(lambda: len(under.well) == 5, within_s=WITHIN_S)
        done = await asyncio.to_thread(whole.run, "restart", service)
        sure = under.well.copy()
        await eventually(lambda: all(under.well[kind] > sure[kind] for kind in sure), within_s=WITHIN_S)
    after = whole.part(service)

    assert (done.returncode, done.stdout) == (0, f"restarted {service}\n"), done.stderr
    assert under.failed == []
    assert after["pid"] != before["pid"]
    assert (after["address"], after["restarts"]) == (before["address"], before["restarts"])


async def test_without_the_controller_calls_go_on(whole: WholeStack) -> None:
    """It is killed and comes back; meanwhile Envoy has all that it needs."""
    before = whole.part("mesh", whole.up())
    async with load(whole) as under:
        await eventually(lambda: len(under.well) == 5, within_s=WITHIN_S)
        os.kill(before["pid"], signal.SIGKILL)
        sure = under.well.copy()
        await eventually(lambda: all(under.well[kind] > sure[kind] for kind in sure), within_s=WITHIN_S)
        await whole.eventually_restarted("mesh", before["restarts"] + 1)

    assert under.failed == []


@pytest.mark.parametrize("part", ["envoy", "inference"])
async def test_what_is_killed_comes_back(whole: WholeStack, part: str) -> None:
    """At its address, and calls of all kinds end well again."""
    before = whole.part(part, whole.up())
    os.kill(before["pid"], signal.SIGKILL)
    after = await whole.eventually_restarted(part, before["restarts"] + 1)
    async with load(whole) as under:
        await eventually(lambda: len(under.well) == 5, within_s=WITHIN_S)

    assert after["address"] == before["address"]
    assert after["pid"] != before["pid"]


async def test_replicas_are_in_the_mesh_and_go(whole: WholeStack) -> None:
    """A stack with more replicas, restarted one after the other under load; `down` leaves nothing."""
    whole.run("down")
    done = whole.run("up", "--detach", "--scale", "rag=2", "--scale", "rag-canary=1", "--zone", "rag-2=local/b")
    assert done.returncode == 0, done.stderr
    async with load(whole) as under:
        await eventually(lambda: len(under.well) == 5, within_s=WITHIN_S)
        restarted = await asyncio.to_thread(whole.run, "restart", "rag")
    assert restarted.stdout == "restarted rag, rag-2\n", restarted.stderr
    assert under.failed == []
    told = whole.run("mesh", "status")
    assert told.returncode == 0, told.stdout + told.stderr
    assert [line.split()[:2] for line in told.stdout.splitlines() if line.startswith("rag")] == [
        ["rag", "yes"],
        ["rag-2", "yes"],
        ["rag-canary", "yes"],
    ]
    whole.remember_processes()
    assert whole.run("down").returncode == 0
    await whole.eventually_nothing_is_left()
