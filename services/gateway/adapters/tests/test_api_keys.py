"""API keys in a real Redis: made, found, listed, ended, forgotten."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.auth.tokens import Principal
from libs.errors.errors import (
    InvalidArgumentError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
)
from libs.parts.processes import free_port
from libs.store.redis import connect
from libs.store.together import Together
from libs.testing.eventually import eventually
from services.gateway.adapters.api_keys import USED_EVERY_S, KeyNames, RedisApiKeys
from services.gateway.app.keys import CreateKey, Wanted
from services.gateway.domain.api_keys import LISTED_S, MAX_LISTED, MAX_LIVE, ApiKey, presented
from services.gateway.ports import KeyRequest

NOW_S = 1_900_000_000.0
METHOD = "/weft.gateway.v1.KeyService/CreateKey"
CONTEXT_KEY = b"k" * 32
WANTED = Wanted("for tests", ("rag.read", "embedding.embed"), "", None)
_numbers = itertools.count(1)


PLANS: Any = SimpleNamespace(current=SimpleNamespace(plans={"small": None}))


@pytest.fixture
def keys(together: Together) -> RedisApiKeys:
    return RedisApiKeys(together)


@pytest.fixture
def maker() -> Principal:
    """Of a tenant that no other test has."""
    scopes = frozenset({"rag.read", "embedding.embed", "keys.write"})
    return Principal("kim", f"keys_of-{next(_numbers)}-{uuid.uuid4()}"[:63], scopes, NOW_S + 60)


@pytest.fixture
def create(keys: RedisApiKeys) -> CreateKey:
    return creating(keys)


def creating(keys: RedisApiKeys, new_nonce: Callable[[], bytes] = lambda: uuid.uuid4().bytes) -> CreateKey:
    return CreateKey(keys, PLANS, CONTEXT_KEY, new_nonce)


def request(what: str = "a") -> KeyRequest:
    return KeyRequest(str(uuid.uuid4()), what * 64)


async def made(create: CreateKey, maker: Principal, now_s: float = NOW_S, **more: object) -> tuple[ApiKey, str]:
    return await create(maker, replace(WANTED, **more), KeyRequest(), METHOD, now_s)  # type: ignore[arg-type]


async def test_a_key_is_found_by_what_its_owner_sends(
    keys: RedisApiKeys, create: CreateKey, maker: Principal, redis: Redis
) -> None:
    """Tenant and id stand in the text; only its digest is stored, and the secret nowhere."""
    asked = request()
    key, text = await create(maker, replace(WANTED, ttl_s=60.0), asked, METHOD, NOW_S)
    sent = presented(text)
    assert (sent.tenant, sent.key_id) == (maker.tenant, key.key_id)
    assert await keys.find(sent.tenant, sent.key_id) == (key, hashlib.sha256(text.encode()).digest())
    assert key.scopes == ("embedding.embed", "rag.read")
    assert (key.create_time_s, key.expire_time_s) == (NOW_S, NOW_S + 60)
    names = KeyNames(maker.tenant)
    stored: list[Any] = [*await redis.hvals(names.records), await redis.get(names.request(asked.request_id))]
    assert b"embedding.embed" in stored[0]
    assert text.rpartition("_")[2].encode() not in b"".join(stored)


async def test_keys_differ(create: CreateKey, maker: Principal) -> None:
    """Two requests without an id make two keys."""
    (one, one_text), (other, other_text) = [await made(create, maker) for _ in range(2)]
    assert one.key_id != other.key_id
    assert one_text.rpartition("_")[2] != other_text.rpartition("_")[2]


async def test_the_same_request_has_the_same_key(keys: RedisApiKeys, create: CreateKey, maker: Principal) -> None:
    """Sent again, it is answered with the same secret, also by another gateway, and no second key is made."""
    asked = request()
    first = await create(maker, WANTED, asked, METHOD, NOW_S)
    again = replace(asked, request_id=asked.request_id.upper())
    assert await creating(keys)(maker, WANTED, again, METHOD, NOW_S + 5) == first
    assert len(await keys.keys(maker.tenant, after="", limit=10, now_s=NOW_S)) == 1


async def test_a_request_id_stands_for_one_request(create: CreateKey, maker: Principal) -> None:
    """Another request, or another caller's, with the same id is told so."""
    asked = request("a")
    await create(maker, WANTED, asked, METHOD, NOW_S)
    with pytest.raises(InvalidArgumentError) as raised:
        await create(maker, WANTED, replace(asked, fingerprint="b" * 64), METHOD, NOW_S)
    assert raised.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_request_id_makes_another_secret_later(
    keys: RedisApiKeys, create: CreateKey, maker: Principal, redis: Redis
) -> None:
    """When the request is forgotten, its id makes another key: one that was revoked never comes back."""
    asked = request()
    first, text = await create(maker, WANTED, asked, METHOD, NOW_S)
    name = KeyNames(maker.tenant).request(asked.request_id)
    assert 0 < await redis.pttl(name) <= 24 * 3600 * 1000
    await redis.delete(name)
    second, other_text = await create(maker, WANTED, asked, METHOD, NOW_S)
    assert first.key_id != second.key_id
    assert text.rpartition("_")[2] != other_text.rpartition("_")[2]


async def test_a_request_of_another_installation_key_is_told_so(keys: RedisApiKeys, maker: Principal) -> None:
    """Where the key that secrets are derived from was replaced, the secret cannot be told again."""
    asked = request()
    await creating(keys)(maker, WANTED, asked, METHOD, NOW_S)
    other = CreateKey(keys, PLANS, b"x" * 32, lambda: uuid.uuid4().bytes)
    with pytest.raises(InvalidArgumentError) as raised:
        await other(maker, WANTED, asked, METHOD, NOW_S)
    assert raised.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_revoked_key_stays_revoked(keys: RedisApiKeys, create: CreateKey, maker: Principal) -> None:
    """Revoking it again changes nothing, its record is otherwise as it was, and its request brings it back as it is."""
    asked = request()
    wanted = replace(WANTED, description='say "\u00fc" / {}', plan="small")
    key, text = await create(maker, wanted, asked, METHOD, NOW_S)
    ended = replace(key, revoke_time_s=NOW_S + 1)
    assert await keys.revoke(maker.tenant, key.key_id, NOW_S + 1) == ended
    assert await keys.revoke(maker.tenant, key.key_id, NOW_S + 2) == ended
    assert await create(maker, wanted, asked, METHOD, NOW_S + 3) == (ended, text)


async def test_a_key_of_another_tenant_is_not_there(keys: RedisApiKeys, create: CreateKey, maker: Principal) -> None:
    """It is neither found, nor listed, nor revoked."""
    key, _ = await made(create, maker)
    assert await keys.find("other", key.key_id) is None
    assert await keys.keys("other", after="", limit=10, now_s=NOW_S) == []
    with pytest.raises(NotFoundError) as raised:
        await keys.revoke("other", key.key_id, NOW_S)
    assert (raised.value.reason, raised.value.metadata) == (Reason.KEY_NOT_FOUND, {"key_id": key.key_id})
    assert await keys.keys(maker.tenant, after="", limit=10, now_s=NOW_S) == [key]


async def test_keys_are_listed_by_id(keys: RedisApiKeys, create: CreateKey, maker: Principal) -> None:
    """Page after page, each once."""
    ids = sorted([(await made(create, maker))[0].key_id for _ in range(7)])
    listed, after = [], ""
    while page := await keys.keys(maker.tenant, after=after, limit=3, now_s=NOW_S):
        assert len(page) <= 3
        listed += [key.key_id for key in page]
        after = listed[-1]
    assert listed == ids


async def test_keys_that_have_ended_are_listed_for_a_while(
    keys: RedisApiKeys, create: CreateKey, maker: Principal, redis: Redis
) -> None:
    """Revoked and expired ones for 30 days; after that they are swept with all that is known of them."""
    lasting, _ = await made(create, maker)
    expiring, _ = await made(create, maker, ttl_s=60.0)
    revoked, _ = await made(create, maker)
    keys.note_use(revoked, NOW_S)
    await keys.revoke(maker.tenant, revoked.key_id, NOW_S + 60)
    names = KeyNames(maker.tenant)
    await eventually(lambda: redis.hlen(names.used))

    async def listed(now_s: float) -> set[str]:
        return {key.key_id for key in await keys.keys(maker.tenant, after="", limit=10, now_s=now_s)}

    end_s = NOW_S + 60 + LISTED_S
    assert await listed(end_s) == {lasting.key_id, expiring.key_id, revoked.key_id}
    assert await listed(end_s + 1) == {lasting.key_id}
    fresh, _ = await made(create, maker, now_s=end_s + 1)
    assert set(await redis.hkeys(names.records)) == {lasting.key_id.encode(), fresh.key_id.encode()}
    assert await redis.zcard(names.ends) == 2
    assert await redis.hlen(names.used) == 0


async def test_a_tenant_has_a_bounded_number_of_keys(
    keys: RedisApiKeys, create: CreateKey, maker: Principal, redis: Redis
) -> None:
    """1,000 that are in force; one that has ended makes room."""
    first, _ = await made(create, maker)
    ends = KeyNames(maker.tenant).ends
    await redis.zadd(ends, {f"key{number}": "+inf" for number in range(MAX_LIVE - 1)})
    with pytest.raises(ResourceExhaustedError) as raised:
        await made(create, maker)
    assert (raised.value.reason, raised.value.metadata) == (Reason.QUOTA_EXCEEDED, {"limit": "1000"})
    await keys.revoke(maker.tenant, first.key_id, NOW_S)
    assert (await made(create, maker, now_s=NOW_S + 1))[0]


async def test_keys_that_ended_are_bounded_too(create: CreateKey, maker: Principal, redis: Redis) -> None:
    """10,000 with those of the last 30 days: whoever makes and revokes keys all day is told so."""
    ended = {f"key{number}": (NOW_S - 60) * 1000 for number in range(MAX_LISTED)}
    await redis.zadd(KeyNames(maker.tenant).ends, ended)
    with pytest.raises(ResourceExhaustedError) as raised:
        await made(create, maker)
    assert raised.value.metadata == {"limit": "10000"}
    assert await made(create, maker, now_s=NOW_S + LISTED_S)


async def test_a_use_is_noted_to_about_a_minute(keys: RedisApiKeys, create: CreateKey, maker: Principal) -> None:
    """The first is, and those after a while; what lies between costs no write."""
    key, _ = await made(create, maker)

    async def used() -> float:
        found = await keys.find(maker.tenant, key.key_id)
        assert found
        return found[0].last_use_time_s

    keys.note_use(key, NOW_S + 1)
    await eventually(used)
    noted = replace(key, last_use_time_s=NOW_S + 1)
    keys.note_use(noted, NOW_S + USED_EVERY_S)
    keys.note_use(noted, NOW_S + 1 + USED_EVERY_S)

    async def later() -> bool:
        return await used() == NOW_S + 1 + USED_EVERY_S

    await eventually(later)


async def test_without_redis_nothing_is_told() -> None:
    """Each way to ask is UNAVAILABLE, with the dependency's name; noting a use fails in silence."""
    async with connect(f"redis://:x@127.0.0.1:{free_port()}/0") as nobody:
        keys = RedisApiKeys(Together(nobody))
        key = ApiKey("k", "acme", "", ("a",), "", NOW_S)
        keys.note_use(key, NOW_S)
        for asking in (
            keys.find("acme", "k"),
            keys.keys("acme", after="", limit=1, now_s=NOW_S),
            keys.revoke("acme", "k", NOW_S),
        ):
            with pytest.raises(UnavailableError) as raised:
                await asking
            assert raised.value.metadata == {"dependency": "redis"}


@pytest.mark.parametrize(
    ("wanted", "reason", "metadata"),
    [
        ({"scopes": ("rag.read", "rag.write")}, Reason.SCOPE_MISSING, {"scope": "rag.write", "method": METHOD}),
        ({"plan": "large"}, Reason.PLAN_UNKNOWN, {"plan": "large"}),
    ],
)
async def test_what_its_maker_may_not_give(
    keys: RedisApiKeys,
    create: CreateKey,
    maker: Principal,
    wanted: dict[str, Any],
    reason: Reason,
    metadata: dict[str, str],
) -> None:
    """A scope that the maker lacks, or a plan that there is not, makes no key."""
    with pytest.raises(ServiceError) as raised:
        await made(create, maker, **wanted)
    assert (raised.value.reason, raised.value.metadata) == (reason, metadata)
    assert await keys.keys(maker.tenant, after="", limit=1, now_s=NOW_S) == []
