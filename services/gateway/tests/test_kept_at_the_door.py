"""Kept answers at the door, with two gateways over one Redis and one service behind both."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from libs.contracts import headers
from libs.store.redis import connect
from libs.store.stamps import MODELS, tenant_stamps
from libs.testing.eventually import eventually
from services.gateway.tests.world import Gateway, KeyFiles, Seen, failure_of, open_embedding, open_gateway
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.inference.v1 import generation_service_pb2 as generation_pb


@dataclass(frozen=True)
class Answer:
    """An answer and what its headers say of where it comes from."""

    body: bytes
    cache: str | None
    age_s: str | None


@dataclass(frozen=True)
class Pair:
    """Two gateways before one service; a tenant and a model that no other test has."""

    gateways: tuple[Gateway, Gateway]
    seen: Seen
    tenant: str
    model: str
    redis: Redis
    stack: AsyncExitStack
    """What stops the service when it is closed."""

    async def ask(self, text: str = "keep this", control: str = "", *, which: int = 0, tenant: str = "") -> Answer:
        gateway = self.gateways[which]
        sent = gateway.bearer(tenant=tenant or self.tenant)
        if control:
            sent = (*sent, (headers.CACHE_CONTROL, control))
        call = gateway.embed(text, metadata=sent)
        body = await call
        told = dict(await call.initial_metadata())
        return Answer(body, told.get(headers.CACHE), told.get(headers.AGE))

    async def stamp(self, **stamps: str) -> None:
        """What is current, in the store and for the service."""
        if "collection" in stamps:
            await self.redis.hset(tenant_stamps(self.tenant), "collection/guides", stamps["collection"])
            self.seen.stamps["collection/guides"] = stamps["collection"]
        if "model" in stamps:
            await self.redis.hset(MODELS, self.model, stamps["model"])
            self.seen.stamps[self.model] = stamps["model"]


@pytest.fixture
async def pair(key_files: KeyFiles, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Two gateways that keep answers for 300 seconds, or for as many as the test's parameter says."""
    ttl_s: float = getattr(request, "param", 300.0)
    seen, name = Seen(), uuid.uuid4().hex[:12]
    async with AsyncExitStack() as service:
        embedding = await service.enter_async_context(open_embedding(seen, key_files.redis_url))
        async with (
            open_gateway(key_files, seen, cache_ttl_s=ttl_s, embedding=embedding) as first,
            open_gateway(key_files, seen, cache_ttl_s=ttl_s, embedding=embedding) as second,
            connect(key_files.redis_url, timeout_s=10.0) as redis,
        ):
            pair = Pair((first, second), seen, f"t{name}", f"model/{name}", redis, service)
            await pair.stamp(collection="1", model="1")
            yield pair


async def test_the_same_request_is_answered_once(pair: Pair) -> None:
    """Also when it comes to the other gateway: the second answer is the first one's bytes, with their age."""
    first = await pair.ask(which=0)
    assert (first.cache, first.age_s) == ("miss", None)
    second = await pair.ask(which=1)
    assert (second.body, second.cache, second.age_s is not None) == (first.body, "hit", True)
    assert len(pair.seen.contexts) == 1


async def test_another_request_is_another_answer(pair: Pair) -> None:
    """Requests that differ in a byte, and tenants, share nothing."""
    await pair.ask("keep this")
    assert (await pair.ask("keep that")).cache == "miss"
    assert (await pair.ask("keep this", tenant=f"{pair.tenant}-other")).cache == "miss"


async def test_a_hit_answers_as_a_call_does(pair: Pair) -> None:
    """It has the caller's request id, and says how long admission took."""
    await pair.ask()
    metadata = (*pair.gateways[0].bearer(tenant=pair.tenant), (headers.REQUEST_ID, "order-17"))
    call = pair.gateways[0].embed("keep this", metadata=metadata)
    await call
    told = dict(await call.initial_metadata())
    assert (told[headers.REQUEST_ID], told[headers.CACHE]) == ("order-17", "hit")
    assert int(told[headers.ADMISSION_US]) > 0


async def test_who_may_not_call_gets_no_kept_answer(pair: Pair) -> None:
    """A token without the scope is refused before anything is looked for."""
    await pair.ask()
    failure = await failure_of(pair.gateways[0].embed("keep this", tenant=pair.tenant, scope="rag.read"))
    assert failure.reason == "SCOPE_MISSING"


@pytest.mark.parametrize("changed", ["collection", "model"])
async def test_a_write_makes_older_answers_unreachable(pair: Pair, changed: str) -> None:
    """At once, at both gateways."""
    await pair.ask()
    await pair.stamp(**{changed: "2"})
    assert (await pair.ask(which=1)).cache == "miss"
    assert (await pair.ask(which=0)).cache == "hit"


async def test_an_answer_that_was_overtaken_by_a_write_is_not_given(pair: Pair) -> None:
    """What was read before the write is kept under what it was read at, which is not current any more."""
    call = asyncio.create_task(pair.ask("keep wait"))
    await eventually(lambda: pair.seen.contexts)
    await pair.redis.hset(tenant_stamps(pair.tenant), "collection/guides", "2")
    pair.seen.go_on.set()
    assert (await call).cache == "miss"
    assert (await pair.ask("keep wait")).cache == "miss"


@pytest.mark.parametrize("control", ["no-cache", "no-store", "max-age=0"])
async def test_a_caller_that_wants_no_kept_answer(pair: Pair, control: str) -> None:
    """The service is asked, and the answer says that the cache was left aside."""
    await pair.ask()
    answer = await pair.ask(control=control)
    assert (answer.cache, answer.age_s) == ("bypass", None)
    assert len(pair.seen.contexts) == 2


async def test_no_store_keeps_nothing(pair: Pair) -> None:
    """The next caller is a miss; of no-cache it is a hit."""
    await pair.ask(control="no-store")
    assert (await pair.ask(control="no-cache")).cache == "bypass"
    assert (await pair.ask()).cache == "hit"
    assert len(pair.seen.contexts) == 2


async def test_what_the_service_does_not_name_is_not_kept(pair: Pair) -> None:
    """Nor is a failure."""
    assert [(await pair.ask("plain")).cache for _ in range(2)] == ["miss", "miss"]
    for _ in range(2):
        assert (await failure_of(pair.gateways[0].embed("missing", tenant=pair.tenant))).code == "NOT_FOUND"
    assert len(pair.seen.contexts) == 4


async def test_many_equal_calls_at_two_gateways_make_one_answer(pair: Pair) -> None:
    """The service sees one; all the others are hits."""
    calls = [asyncio.create_task(pair.ask("keep wait", which=number % 2)) for number in range(20)]
    await eventually(lambda: pair.seen.contexts)
    pair.seen.go_on.set()
    answers = await asyncio.gather(*calls)
    assert sorted(str(answer.cache) for answer in answers) == ["hit"] * 19 + ["miss"]
    assert len({answer.body for answer in answers}) == 1
    assert len(pair.seen.contexts) == 1


async def test_when_the_first_of_many_leaves_another_one_goes_on(pair: Pair) -> None:
    """A caller that cancels while others wait for its answer costs them nothing but time."""
    first = pair.gateways[0].embed("keep wait", tenant=pair.tenant)
    await eventually(lambda: len(pair.seen.contexts) == 1)
    others = [asyncio.create_task(pair.ask("keep wait", which=number % 2)) for number in range(6)]
    first.cancel()
    await eventually(lambda: len(pair.seen.contexts) == 2)
    pair.seen.go_on.set()
    assert sorted(str(answer.cache) for answer in await asyncio.gather(*others)) == ["hit"] * 5 + ["miss"]
    assert len(pair.seen.contexts) == 2


async def test_a_caller_that_waits_can_leave(pair: Pair) -> None:
    """Its deadline holds while another call makes the answer."""
    first = asyncio.create_task(pair.ask("keep wait"))
    await eventually(lambda: pair.seen.contexts)
    body = pair.gateways[1].embed("keep wait", tenant=pair.tenant)
    body.cancel()
    assert await body.code() is grpc.StatusCode.CANCELLED
    pair.seen.go_on.set()
    assert (await first).cache == "miss"
    assert len(pair.seen.contexts) == 1


@pytest.mark.parametrize("pair", [0.2], indirect=True)
async def test_an_answer_past_its_time_when_the_service_is_gone(pair: Pair) -> None:
    """It is given, marked, until something that it depends on changes; and never to a caller that wants a new one."""
    kept = await pair.ask()
    await pair.stack.aclose()

    async def stale() -> Answer | None:
        answer = await pair.ask(which=1)
        return answer if answer.cache != "hit" else None

    condition: Any = stale
    answer = await eventually(condition)
    assert (answer.body, answer.cache, answer.age_s is not None) == (kept.body, "stale", True)
    for control in ("no-cache", "no-store", "max-age=0"):
        metadata = (*pair.gateways[0].bearer(tenant=pair.tenant), (headers.CACHE_CONTROL, control))
        assert (await failure_of(pair.gateways[0].embed("keep this", metadata=metadata))).code == "UNAVAILABLE"
    await pair.stamp(collection="2")
    failure = await failure_of(pair.gateways[0].embed("keep this", tenant=pair.tenant))
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert failure.metadata == {"dependency": "embedding"}


@pytest.mark.parametrize("pair", [0.2], indirect=True)
async def test_an_answer_past_its_time_when_the_service_cannot_serve(pair: Pair) -> None:
    """A service that says UNAVAILABLE itself is as good as gone; without an old answer its own status is passed on."""
    kept = await pair.ask()
    pair.seen.unavailable = True

    async def stale() -> Answer | None:
        answer = await pair.ask()
        return answer if answer.cache != "hit" else None

    condition: Any = stale
    answer = await eventually(condition)
    assert (answer.body, answer.cache) == (kept.body, "stale")
    failure = await failure_of(pair.gateways[0].embed("keep that", tenant=pair.tenant))
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "MODEL_UNAVAILABLE")


async def test_streams_have_nothing_to_do_with_it(gateway: Gateway) -> None:
    """A stream, and a unary method that is not cacheable, say nothing of the cache, whatever the caller asks of it."""
    message = ChatMessage(role=CHAT_ROLE_USER, content="3 messages")
    body = generation_pb.StreamGenerateRequest(prompt=generation_pb.Prompt(messages=[message])).SerializeToString()
    for _ in range(2):
        sent = (*gateway.bearer(), (headers.CACHE_CONTROL, "max-age=60"))
        stream = gateway.channel.unary_stream("/weft.inference.v1.GenerationService/StreamGenerate")(
            body, metadata=sent
        )
        assert len([message async for message in stream]) == 3
        assert headers.CACHE not in dict(await stream.initial_metadata())
        call = gateway.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"abc", metadata=sent)
        assert await call == b"cba"
        assert headers.CACHE not in dict(await call.initial_metadata())
    assert gateway.seen.produced == 6
