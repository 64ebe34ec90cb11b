"""Redis slow, down and back in the middle: limits and cache are open, budgets closed, and nothing stays reserved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.contracts import headers
from libs.ledger.keys import LedgerKeys
from libs.rpc.server import Component
from libs.store.redis import connect
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from libs.testing.serving import serving
from services.gateway.adapters.tests.demands import OwnRedis
from services.gateway.tests.world import Embedding, Gateway, KeyFiles, Seen, failure_of, open_gateway
from weft.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from weft.gateway.v1 import identity_service_pb2 as identity_pb
from weft.gateway.v1 import identity_service_pb2_grpc

PLANS = """
plans:
  limited: {limits: {tenant: {minute: 3, hour: none}}}
  budgeted: {limits: {tenant: none}, budgets: {tenant: {day: {tokens: 100000}}}}
tenants:
  limited: {plan: limited}
  budgeted: {plan: budgeted}
"""


@dataclass(frozen=True)
class Shaken:
    """A gateway with a Redis of its own, which the test stops and kills."""

    gateway: Gateway
    redis: OwnRedis
    seen: Seen

    async def ask(self, text: str, tenant: str) -> dict[str, str]:
        """A good answer's headers."""
        call = self.gateway.embed(text, tenant=tenant)
        await call
        return dict(await call.initial_metadata())

    async def works_again(self, tenant: str) -> None:
        async def works() -> bool:
            return bool(await self.gateway.embed("a", tenant=tenant).code() is grpc.StatusCode.OK)

        condition: Any = works
        await eventually(condition)

    async def nothing_reserved(self, tenant: str) -> None:
        """Returns once no budget of the tenant has anything reserved."""

        async def free() -> bool:
            reserved = 0
            async with connect(self.redis.url, timeout_s=10.0) as redis:
                async for key in redis.scan_iter(f"{LedgerKeys(tenant).budget('')}*"):
                    fields: Any = await redis.hgetall(key)
                    reserved += sum(int(value) for name, value in fields.items() if name.endswith(b"reserved"))
            return reserved == 0

        condition: Any = free
        await eventually(condition)


@pytest.fixture
async def shaken(key_files: KeyFiles, tmp_path: Path) -> AsyncIterator[Shaken]:
    """Before an embedding service that knows nothing of Redis."""
    seen, redis, plans = Seen(), OwnRedis(tmp_path), tmp_path / "plans.yaml"
    plans.write_text(PLANS)
    redis.start()
    component = Component(servicers=[(embedding_grpc.add_EmbeddingServiceServicer_to_server, Embedding(seen))])
    try:
        async with (
            serving(component) as embedding,
            open_gateway(
                replace(key_files, plans=plans, redis_url=redis.url), seen, embedding=embedding.address
            ) as gateway,
        ):
            yield Shaken(gateway, redis, seen)
    finally:
        redis.stop()


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_limits_are_open_and_answers_are_misses(shaken: Shaken, fault: str) -> None:
    """Calls that no budget bounds go on, more than the limit says, without a word of limits, and nothing is kept; it is
    counted. When Redis is back, limits hold again."""
    await shaken.ask("a", "limited")
    opened = metrics.value("weft_gateway_ledger_unreached_total", calls="open")
    getattr(shaken.redis, fault)()
    shaken.seen.stamps = {"model/embed": "1"}
    for _ in range(4):
        told = await shaken.ask("keep this", "limited")
        assert told[headers.CACHE] == "miss"
        assert headers.RATE_LIMIT not in told
    assert metrics.value("weft_gateway_ledger_unreached_total", calls="open") == opened + 4
    await _come_back(shaken, fault)

    async def limited() -> bool:
        return bool(await shaken.gateway.embed("a", tenant="limited").code() is grpc.StatusCode.RESOURCE_EXHAUSTED)

    condition: Any = limited
    await eventually(condition)


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_budgets_are_closed(shaken: Shaken, fault: str) -> None:
    """A call that would be charged to a budget is UNAVAILABLE and says why; one that costs nothing goes on. When Redis
    is back, it is as if the refused calls had never been."""
    getattr(shaken.redis, fault)()
    for _ in range(2):
        failure = await failure_of(shaken.gateway.embed("a", tenant="budgeted"))
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert failure.metadata == {"dependency": "redis"}
        assert failure.retry_after_s is not None
    assert shaken.seen.contexts == []
    stub = identity_service_pb2_grpc.IdentityServiceStub(shaken.gateway.channel)
    who = await stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=shaken.gateway.bearer(tenant="budgeted"))
    assert who.tenant == "budgeted"
    await _come_back(shaken, fault)
    await shaken.nothing_reserved("budgeted")
    await shaken.works_again("budgeted")


async def test_a_caller_that_leaves_before_it_is_admitted_is_refunded(shaken: Shaken) -> None:
    """Its admission may be carried out when Redis wakes: what that reserved is given back all the same."""
    await shaken.ask("a", "limited")
    await eventually(lambda: metrics.value("weft_gateway_open_calls") == 0)
    shaken.redis.pause()
    calls = [shaken.gateway.embed("a", "x" * 1000, tenant="budgeted") for _ in range(20)]
    await eventually(lambda: metrics.value("weft_gateway_open_calls") > 0)
    for call in calls:
        call.cancel()
    await eventually(lambda: all(call.done() for call in calls))
    shaken.redis.resume()
    await shaken.nothing_reserved("budgeted")
    assert len(shaken.seen.contexts) == 1


async def test_a_call_under_way_does_not_need_redis(shaken: Shaken) -> None:
    """Redis dies while the service works: the answer comes all the same."""
    call = shaken.gateway.embed("wait", tenant="budgeted")
    await eventually(lambda: shaken.seen.contexts)
    shaken.redis.kill()
    shaken.seen.go_on.set()
    assert await call
    await shaken.redis.restart()


async def _come_back(shaken: Shaken, fault: str) -> None:
    if fault == "pause":
        shaken.redis.resume()
    else:
        await shaken.redis.restart()
