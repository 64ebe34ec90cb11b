"""API keys through real gateways: a key does what a token does, in every gateway, until it ends."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from libs.contracts import headers
from libs.parts.valkey import start_redis
from libs.rpc.status import service_error_of
from libs.testing.eventually import eventually
from services.gateway.adapters.tests.provider import serving_provider
from services.gateway.tests.signers import AUDIENCE, SIGNERS
from services.gateway.tests.world import Failure, Gateway, KeyFiles, Seen, failure_of, open_embedding, open_gateway
from weft.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc, key_service_pb2_grpc
from weft.gateway.v1 import key_service_pb2 as pb
from weft.policy.v1 import method_policy_pb2

PLANS = """
plans:
  team: {limits: {tenant: {minute: 600}, key: none, groups: {search: {minute: 50}}}, highest_priority: normal}
  robot: {limits: {tenant: none, key: {minute: 5}}, highest_priority: high}
default_plan: team
"""
TEAM_LIMITS = {"tenant/minute": 600, "tenant/hour": 1000, "search/minute": 50}
SCOPES = "embedding.embed keys.read keys.write"


@dataclass(frozen=True)
class Caller:
    """Calls one gateway with one credential."""

    gateway: Gateway
    credential: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ((headers.AUTHORIZATION, f"Bearer {self.credential}"),)

    def _stub(self) -> Any:
        return key_service_pb2_grpc.KeyServiceStub(self.gateway.channel)

    def create(self, *scopes: str, **fields: Any) -> Any:
        request = pb.CreateKeyRequest(scopes=scopes or ("embedding.embed",), **fields)
        return self._stub().CreateKey(request, metadata=self.metadata)

    def keys(self, **fields: Any) -> Any:
        return self._stub().ListKeys(pb.ListKeysRequest(**fields), metadata=self.metadata)

    def revoke(self, key_id: str) -> Any:
        return self._stub().RevokeKey(pb.RevokeKeyRequest(key_id=key_id), metadata=self.metadata)

    def who_am_i(self) -> Any:
        stub = identity_service_pb2_grpc.IdentityServiceStub(self.gateway.channel)
        return stub.WhoAmI(identity_service_pb2.WhoAmIRequest(), metadata=self.metadata)

    def embed(self) -> Any:
        return self.gateway.embed("four", metadata=self.metadata)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for tenants, and one for keys."""
    file: Path = tmp_path_factory.mktemp("plans") / "plans.yaml"
    file.write_text(PLANS)
    return file


@pytest.fixture(scope="module")
async def gateways(key_files: KeyFiles, plans: Path) -> AsyncIterator[list[Gateway]]:
    """Two beside each other, over one Redis and before one embedding service."""
    seen, files = Seen(), replace(key_files, plans=plans)
    async with AsyncExitStack() as stack:
        embedding = await stack.enter_async_context(open_embedding(seen, files.redis_url))
        yield [await stack.enter_async_context(open_gateway(files, seen, embedding=embedding)) for _ in range(2)]


@pytest.fixture
def owner(gateways: list[Gateway]) -> Caller:
    """With a token of a tenant that no other test has."""
    return Caller(gateways[0], SIGNERS["EdDSA"].token(tenant=f"keys-{uuid.uuid4()}", scope=SCOPES))


def at(gateway: Gateway, made: pb.CreateKeyResponse) -> Caller:
    """Who calls with a key that was made."""
    return Caller(gateway, made.secret_key)


async def refusal(call: Any) -> tuple[str, str]:
    failure: Failure = await failure_of(call)
    return failure.code, failure.reason


async def reason_of(call: Any) -> str:
    """Why a call is refused; empty where it is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        refused = service_error_of(error)
        return refused.reason.value if refused else error.code().name
    return ""


async def test_a_key_does_what_a_token_does(gateways: list[Gateway], owner: Caller) -> None:
    """At every gateway; behind them its call is of its tenant, and of itself."""
    made = await owner.create(description="for tests")
    tenant = (await owner.who_am_i()).tenant
    for gateway in gateways:
        gateway.seen.contexts.clear()
        assert await at(gateway, made).embed()
        (context,) = gateway.seen.contexts
        assert (context.tenant, context.principal) == (tenant, f"key:{made.key.key_id}")
    assert made.secret_key.startswith(f"weft_{tenant}_{made.key.key_id}_")


async def test_a_key_learns_what_it_may(gateways: list[Gateway], owner: Caller) -> None:
    """Its scopes and its own plan's limits beside its tenant's; no priority that its tenant does not have; no end."""
    made = await owner.create("keys.read", "embedding.embed", plan="robot")
    told = await at(gateways[1], made).who_am_i()
    assert (told.principal, list(told.scopes)) == (f"key:{made.key.key_id}", ["embedding.embed", "keys.read"])
    assert (told.plan, told.highest_priority) == ("robot", method_policy_pb2.PRIORITY_NORMAL)
    limits = {limit.name: limit.limit for limit in told.rate_limits}
    assert limits == {**TEAM_LIMITS, "key/minute": 5}
    assert not told.HasField("expire_time")
    ending = await owner.create(ttl=Duration(seconds=3600))
    told = await at(gateways[1], ending).who_am_i()
    assert (told.plan, told.expire_time) == ("team", ending.key.expire_time)
    assert ending.key.expire_time.ToSeconds() - ending.key.create_time.ToSeconds() == 3600


async def test_a_key_of_a_plan_makes_keys_of_that_plan(gateways: list[Gateway], owner: Caller) -> None:
    """Who has less than its tenant cannot make itself a key with more."""
    narrow = at(gateways[0], await owner.create("keys.write", "embedding.embed", plan="robot"))
    assert (await narrow.create()).key.plan == "robot"
    assert (await narrow.create(plan="robot")).key.plan == "robot"
    assert (await failure_of(narrow.create(plan="team"))).reason == "FIELD_INVALID"


async def test_a_token_learns_what_it_may(owner: Caller) -> None:
    """Its tenant's plan, and that plan's limits."""
    told = await owner.who_am_i()
    assert (told.principal, told.plan, told.highest_priority) == ("kim", "team", method_policy_pb2.PRIORITY_NORMAL)
    assert {limit.name: limit.limit for limit in told.rate_limits} == TEAM_LIMITS
    assert told.HasField("expire_time")


async def test_a_revoked_key_is_refused_at_every_gateway(gateways: list[Gateway], owner: Caller) -> None:
    """Soon; its record says since when."""
    made = await owner.create()
    for gateway in gateways:
        await at(gateway, made).who_am_i()
    ended = (await owner.revoke(made.key.key_id)).key
    assert ended.HasField("revoke_time")
    assert (await owner.revoke(made.key.key_id)).key.revoke_time == ended.revoke_time

    async def reasons() -> list[str]:
        told = [await reason_of(at(gateway, made).who_am_i()) for gateway in gateways]
        return told if all(told) else []

    assert await eventually(reasons) == ["TOKEN_REFUSED", "TOKEN_REFUSED"]


async def test_a_key_has_its_scopes_only(gateways: list[Gateway], owner: Caller) -> None:
    """A method that needs another one is refused, and it can give no key more than it has."""
    made = await owner.create("keys.write")
    key = at(gateways[0], made)
    assert await refusal(key.embed()) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    failure = await failure_of(key.create("embedding.embed"))
    method = "/weft.gateway.v1.KeyService/CreateKey"
    assert (failure.reason, failure.metadata) == ("SCOPE_MISSING", {"scope": "embedding.embed", "method": method})
    assert await key.create("keys.write")


async def test_keys_are_listed_page_by_page(owner: Caller) -> None:
    """By their id, with all that is known of them but the secret; a page of one tenant is of no use to another."""
    made = [await owner.create(description=f"number {number}") for number in range(3)]
    await at(owner.gateway, made[0]).who_am_i()
    first = await owner.keys(page_size=2)
    rest = await owner.keys(page_size=2, page_token=first.next_page_token)
    listed = [*first.keys, *rest.keys]
    assert [key.key_id for key in listed] == sorted(each.key.key_id for each in made)
    assert rest.next_page_token == ""
    assert {key.description for key in listed} == {"number 0", "number 1", "number 2"}

    async def used() -> list[str]:
        return [key.key_id for key in (await owner.keys()).keys if key.HasField("last_use_time")]

    assert await eventually(used) == [made[0].key.key_id]
    other = Caller(owner.gateway, SIGNERS["EdDSA"].token(tenant="another", scope=SCOPES))
    assert await refusal(other.keys(page_token=first.next_page_token)) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert await refusal(other.revoke(made[0].key.key_id)) == ("NOT_FOUND", "KEY_NOT_FOUND")


async def test_the_same_request_makes_one_key(gateways: list[Gateway], owner: Caller) -> None:
    """Sent again, to any gateway, it has the same answer; to another caller of the tenant it tells no secret."""
    request_id = str(uuid.uuid4())
    first = await owner.create(request_id=request_id)
    assert await replace(owner, gateway=gateways[1]).create(request_id=request_id) == first
    tenant = (await owner.who_am_i()).tenant
    lee = Caller(owner.gateway, SIGNERS["EdDSA"].token(sub="lee", tenant=tenant, scope=SCOPES))
    for call in (lee.create(request_id=request_id), owner.create(request_id=request_id, description="other")):
        assert await refusal(call) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert [key.key_id for key in (await owner.keys()).keys] == [first.key.key_id]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"plan": "nowhere"}, "PLAN_UNKNOWN"),
        ({"ttl": Duration(seconds=0)}, "FIELD_INVALID"),
        ({"request_id": "x"}, "FIELD_INVALID"),
        ({"description": "d" * 201}, "FIELD_INVALID"),
    ],
)
async def test_what_cannot_be_made_is_told(owner: Caller, fields: dict[str, Any], reason: str) -> None:
    """By its reason; no key is made."""
    assert await refusal(owner.create(**fields)) == ("INVALID_ARGUMENT", reason)
    assert list((await owner.keys()).keys) == []


async def test_without_redis_keys_cannot_be_told(key_files: KeyFiles, tmp_path: Path) -> None:
    """A key that was not read a moment ago is UNAVAILABLE, by the dependency's name; tokens go on."""
    redis = start_redis(tmp_path / "data", password="x", log=tmp_path / "redis.log")
    files = replace(key_files, redis_url=f"redis://:x@{redis.address}/0")
    token = SIGNERS["EdDSA"].token(scope=SCOPES)
    async with open_gateway(files, Seen()) as gateway, open_gateway(files, Seen()) as other:
        made = await Caller(gateway, token).create()
        redis.stop()
        failure = await failure_of(at(other, made).who_am_i())
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert (failure.metadata, failure.retry_after_s is not None) == ({"dependency": "redis"}, True)
        assert (await Caller(other, token).who_am_i()).principal == "kim"
        assert await refusal(Caller(other, token).keys()) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_a_provider_that_is_away_stops_no_gateway(key_files: KeyFiles) -> None:
    """It starts; the provider's tokens are UNAVAILABLE until it answers, others are good all along."""
    async with serving_provider(SIGNERS["ES256"]) as provider:
        provider.status = 503
        theirs = {"issuer": provider.url, "audience": AUDIENCE, "tenant_claim": "org"}
        async with open_gateway(key_files, Seen(), issuers=[theirs]) as gateway:
            token = SIGNERS["ES256"].token(iss=provider.url, tenant=None, org="globex")
            failure = await failure_of(Caller(gateway, token).who_am_i())
            assert (failure.code, failure.metadata) == ("UNAVAILABLE", {"dependency": provider.url})
            assert (await Caller(gateway, SIGNERS["EdDSA"].token()).who_am_i()).tenant == "acme"
            provider.status = 200

            async def answers() -> bool:
                return await reason_of(Caller(gateway, token).who_am_i()) == ""

            await eventually(answers)
            assert (await Caller(gateway, token).who_am_i()).tenant == "globex"
