"""Limits and budgets at the door, with two gateways over one Redis and one service behind both."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

from libs.contracts import headers
from libs.ledger.keys import LedgerKeys
from libs.rpc.server import Component
from libs.store.redis import connect
from libs.testing.eventually import eventually
from libs.testing.serving import serving
from services.gateway.tests.world import Gateway, Generation, KeyFiles, Seen, failure_of, open_embedding, open_gateway
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.inference.v1 import generation_service_pb2 as generation_pb
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc
from weft.rag.v1.search_service_pb2 import SearchRequest

SEARCH = "/weft.rag.v1.SearchService/Search"
STREAM = "/weft.inference.v1.GenerationService/StreamGenerate"
INFER = "/inference.GRPCInferenceService/ModelInfer"
PLANS = """
prices:
  embed: {{input: 2}}
  other: {{input: 2}}
plans:
  limited: {{limits: {{tenant: {{minute: {limit}, hour: none}}, groups: {{embed: {{hour: 1000}}}}}}}}
  budgeted: {{limits: {{tenant: none}}, budgets: {{tenant: {{day: {{tokens: 500}}}}}}}}
  paying: {{limits: {{tenant: none}}, budgets: {{key: {{month: {{money: 0.001}}}}}}}}
  narrow: {{limits: {{tenant: none}}, open_calls: 1}}
tenants:
  {tenant}-limited: {{plan: limited}}
  {tenant}-budgeted: {{plan: budgeted}}
  {tenant}-paying: {{plan: paying}}
  {tenant}-narrow: {{plan: narrow}}
"""


@dataclass(frozen=True)
class Pair:
    """Two gateways. Tenants' names begin with `tenant`."""

    gateways: tuple[Gateway, Gateway]
    seen: Seen
    tenant: str
    redis: Redis

    def turns(self, count: int) -> list[Gateway]:
        """The two, one after the other."""
        return [self.gateways[number % 2] for number in range(count)]

    async def sums(self, plan: str) -> dict[str, int]:
        """All that stands in a tenant's budgets, of its day and month; what is 0 is left out."""
        sums: dict[str, int] = {}
        prefix = LedgerKeys(f"{self.tenant}-{plan}").budget("")
        async for key in self.redis.scan_iter(f"{prefix}*"):
            period = "day" if len(key) - len(prefix) == 8 else "month"
            fields: Any = await self.redis.hgetall(key)
            sums |= {f"{period}:{name.decode()}": int(value) for name, value in fields.items() if int(value)}
        return sums


@asynccontextmanager
async def open_pair(key_files: KeyFiles, folder: Path, *limits: int) -> AsyncIterator[Pair]:
    """The second gateway has a settings file of its own; `limits` are what the two say of `limited` calls a minute."""
    seen, tenant = Seen(), f"t{uuid.uuid4().hex[:12]}"
    files = []
    for number, limit in enumerate(limits):
        files.append(folder / f"plans{number}.yaml")
        files[number].write_text(PLANS.format(tenant=tenant, limit=limit))
    async with (
        open_embedding(seen, key_files.redis_url) as embedding,
        open_gateway(replace(key_files, plans=files[0]), seen, embedding=embedding) as first,
        open_gateway(replace(key_files, plans=files[1]), seen, embedding=embedding) as second,
        connect(key_files.redis_url, timeout_s=10.0) as redis,
    ):
        yield Pair((first, second), seen, tenant, redis)


@pytest.fixture
async def pair(key_files: KeyFiles, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two gateways with the same settings: 5 calls a minute where calls are limited."""
    async with open_pair(key_files, tmp_path, 5, 5) as pair:
        yield pair


async def codes(calls: list[Any]) -> list[str]:
    return sorted([code.name for code in await asyncio.gather(*(call.code() for call in calls))])


async def test_a_limit_holds_over_two_gateways(pair: Pair) -> None:
    """Of calls at the same time, as many as the plan says go through, whichever gateway they meet."""
    calls = [gateway.embed("a", tenant=f"{pair.tenant}-limited") for gateway in pair.turns(20)]
    assert await codes(calls) == ["OK"] * 5 + ["RESOURCE_EXHAUSTED"] * 15
    assert len(pair.seen.contexts) == 5


async def test_what_is_left_of_a_limit_is_on_every_answer(pair: Pair) -> None:
    """Limit, remaining and reset are in the headers of a good answer and in the trailers of a refusal, which says when
    to come back and how long admission took."""
    tenant = f"{pair.tenant}-limited"
    remaining = []
    for gateway in pair.turns(5):
        call = gateway.embed("a", tenant=tenant)
        told = dict(await call.initial_metadata())
        await call
        remaining.append(told[headers.RATE_REMAINING])
        assert (told[headers.RATE_LIMIT], 0 < int(told[headers.RATE_RESET]) <= 61) == ("5", True)
        assert int(told[headers.ADMISSION_US]) > 0
    assert remaining == ["4", "3", "2", "1", "0"]
    failure = await failure_of(pair.gateways[0].embed("a", tenant=tenant))
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert failure.metadata == {"limit": "tenant/minute"}
    assert failure.retry_after_s is not None
    assert 0 < failure.retry_after_s <= 61
    assert (failure.trailers[headers.RATE_LIMIT], failure.trailers[headers.RATE_REMAINING]) == ("5", "0")
    assert int(failure.trailers[headers.ADMISSION_US]) > 0


async def test_two_gateways_with_different_settings(key_files: KeyFiles, tmp_path: Path) -> None:
    """Each goes by its own file, and counts all calls: neither lets more through than it says, whoever came before."""
    async with open_pair(key_files, tmp_path, 2, 4) as pair:
        strict, lavish = pair.gateways
        tenant = f"{pair.tenant}-limited"
        assert await codes([strict.embed("a", tenant=tenant) for _ in range(3)]) == ["OK", "OK", "RESOURCE_EXHAUSTED"]
        assert await codes([lavish.embed("a", tenant=tenant) for _ in range(3)]) == ["OK", "OK", "RESOURCE_EXHAUSTED"]
        assert await codes([strict.embed("a", tenant=tenant)]) == ["RESOURCE_EXHAUSTED"]


async def test_a_budget_holds_over_two_gateways(pair: Pair) -> None:
    """Calls at the same time through both use no more than the budget, and what they used is what is charged."""
    tenant = f"{pair.tenant}-budgeted"
    calls = [gateway.embed("use 40", "x" * 100, tenant=tenant) for gateway in pair.turns(30)]
    assert "RESOURCE_EXHAUSTED" in await codes(calls)
    while await pair.gateways[0].embed("use 40", "x" * 100, tenant=tenant).code() is grpc.StatusCode.OK:
        pass
    assert pair.seen.used_tokens == 500
    assert all(context.allowance_tokens is not None for context in pair.seen.contexts)

    async def settled() -> bool:
        sums = await pair.sums("budgeted")
        return sums["day:tenant:tokens:used"] == 500 and not any(name.endswith("reserved") for name in sums)

    condition: Any = settled
    await eventually(condition)
    failure = await failure_of(pair.gateways[1].embed("a", tenant=tenant))
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")
    assert failure.metadata["budget"] == "tenant/day/tokens"
    assert failure.metadata["reset_time"].endswith("T00:00:00Z")


async def test_a_budget_in_money_is_an_allowance_in_tokens(pair: Pair) -> None:
    """A thousandth at 2 for a million tokens are 500 tokens, for each key."""
    tenant = f"{pair.tenant}-paying"
    await pair.gateways[0].embed("use 300", "x" * 400, tenant=tenant)
    await pair.gateways[1].embed("use 300", "x" * 400, tenant=tenant)
    await pair.gateways[1].embed("use 300", "x" * 400, tenant=tenant, sub="lee")
    assert [context.allowance_tokens for context in pair.seen.contexts][1:2] == [200]
    assert pair.seen.used_tokens == 300 + 200 + 300


async def test_a_service_that_was_never_reached_costs_nothing(pair: Pair) -> None:
    """What was reserved for a call to a service that is not there is free again, long before its lease ends."""
    body = SearchRequest(query="a" * 100).SerializeToString()
    for gateway in pair.turns(10):
        call = gateway.channel.unary_unary(SEARCH)(body, metadata=gateway.bearer(tenant=f"{pair.tenant}-budgeted"))
        assert (await failure_of(call)).code == "UNAVAILABLE"

    async def free() -> bool:
        return await pair.sums("budgeted") == {}

    condition: Any = free
    await eventually(condition)


async def test_what_a_lost_service_may_have_used_stays_reserved(key_files: KeyFiles) -> None:
    """A call that the service has seen is not refunded when the service is lost: what it used may still be told."""
    seen, tenant = Seen(), f"t{uuid.uuid4().hex[:12]}"
    message = ChatMessage(role=CHAT_ROLE_USER, content="hang")
    body = generation_pb.StreamGenerateRequest(prompt=generation_pb.Prompt(messages=[message])).SerializeToString()
    component = Component(servicers=[(generation_grpc.add_GenerationServiceServicer_to_server, Generation(seen))])
    async with AsyncExitStack() as service, connect(key_files.redis_url) as redis:
        inference = await service.enter_async_context(serving(component))
        async with open_gateway(key_files, seen, inference=inference.address) as gateway:
            call = gateway.channel.unary_stream(STREAM)(body, metadata=gateway.bearer(tenant=f"{tenant}-lost"))
            await call.read()
            await service.aclose()
            assert (await failure_of(call)).code == "UNAVAILABLE"
        # The gateway has told its refunds before it ended.
        sums = await Pair((gateway, gateway), seen, tenant, redis).sums("lost")
    assert sums["day:tenant:tokens:reserved"] > 0


async def test_a_huge_cap_reserves_no_more_than_the_method_can_use(pair: Pair) -> None:
    """A million tokens are what a caller may ask for at most; a method that writes none reserves none for it."""
    gateway = pair.gateways[0]
    metadata = (*gateway.bearer(tenant=f"{pair.tenant}-budgeted"), (headers.MAX_TOKENS, "1000000"))
    await gateway.embed("use 10", "x" * 100, metadata=metadata)
    (context,) = pair.seen.contexts
    assert context.max_output_tokens == 1_000_000
    assert context.allowance_tokens is not None
    assert 100 < context.allowance_tokens < 130
    negative = (*gateway.bearer(tenant=f"{pair.tenant}-budgeted"), (headers.MAX_TOKENS, "-5"))
    assert (await failure_of(gateway.embed("a", metadata=negative))).reason == "HEADER_INVALID"


async def test_a_tenant_that_does_not_exist(pair: Pair) -> None:
    """A good token of a tenant without a plan is refused before anything of the call is read."""
    failure = await failure_of(pair.gateways[0].embed("a", tenant="nobody"))
    assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "TENANT_UNKNOWN")
    assert failure.metadata == {"tenant": "nobody"}
    assert pair.seen.contexts == []


async def test_the_tenant_is_the_tokens(pair: Pair) -> None:
    """A header that claims another tenant, or a whole context, moves no limit: the token's tenant is counted."""
    gateway = pair.gateways[0]
    claims: list[tuple[str, str | bytes]] = [("weft-tenant", "victim"), (headers.CONTEXT, b"forged")]
    metadata = [*gateway.bearer(tenant=f"{pair.tenant}-limited"), *claims]
    calls = [gateway.embed("a", metadata=metadata) for _ in range(6)]
    assert await codes(calls) == ["OK"] * 5 + ["RESOURCE_EXHAUSTED"]
    assert {context.tenant for context in pair.seen.contexts} == {f"{pair.tenant}-limited"}


async def test_open_calls_of_a_tenant_are_bounded(pair: Pair) -> None:
    """While one call is open the next of the same tenant is told to come back; the end of the first makes room."""
    gateway = pair.gateways[0]
    tenant = f"{pair.tenant}-narrow"
    first = gateway.embed("wait", tenant=tenant)
    await eventually(lambda: pair.seen.contexts)
    failure = await failure_of(gateway.embed("a", tenant=tenant))
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert failure.retry_after_s is not None
    first.cancel()

    async def room() -> bool:
        return bool(await gateway.embed("a", tenant=tenant).code() is grpc.StatusCode.OK)

    condition: Any = room
    await eventually(condition)


async def test_nothing_that_services_tell_each_other_reaches_a_caller(pair: Pair) -> None:
    """No header and no trailer under `weft-` leaves the gateway, on a good answer or a bad one."""
    pair.seen.stamps = {"model/embed": "1"}
    call = pair.gateways[0].embed("keep this", tenant=f"{pair.tenant}-narrow")
    await call
    failure = await failure_of(pair.gateways[0].embed("missing", tenant=f"{pair.tenant}-narrow"))
    told = {*dict(await call.initial_metadata()), *dict(await call.trailing_metadata()), *failure.trailers}
    assert headers.REQUEST_ID in told
    assert not [name for name in told if name.startswith("weft-")]
