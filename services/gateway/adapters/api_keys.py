"""API keys in Redis, each tenant's under its own keys."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from urllib.parse import quote

import orjson
from redis.exceptions import RedisError

from libs.errors.errors import UnavailableError
from libs.store.redis import reached
from libs.store.scripts import read_script
from libs.store.together import Together
from libs.telemetry import logs
from services.gateway.domain.api_keys import (
    LISTED_S,
    MAX_LISTED,
    MAX_LIVE,
    ApiKey,
    KeyText,
    key_not_found,
    request_id_reused,
    too_many,
)
from services.gateway.ports import KeyRequest

USED_EVERY_S = 30.0
"""A use is written down if the one before is older, so that what is told is right to about a minute."""

_REQUEST_TTL_S = 24 * 3600
_CREATE = read_script(__package__, "create_key")
_REVOKE = read_script(__package__, "revoke_key")


class KeyNames:
    """The Redis keys of one tenant's API keys. They share a hash tag, so that in a Redis Cluster scripts over several
    of them stay on one node."""

    def __init__(self, tenant: str) -> None:
        self.records = f"weft:keys:{{{quote(tenant, safe='')}}}"
        """Hash: a key's record (JSON) by its id."""
        self.ends = f"{self.records}:ends"
        """Sorted set: every id by when the key ends, or has ended (Unix milliseconds, +inf)."""
        self.used = f"{self.records}:used"
        """Hash: when a key was last used, by its id (Unix milliseconds)."""

    def request(self, request_id: str) -> str:
        """Of a request id (a UUID, in any case)."""
        return f"{self.records}:request:{request_id.lower()}"


class RedisApiKeys:
    """The ports ApiKeys and KeyRecords over one Redis."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self._noting: set[asyncio.Task[None]] = set()

    async def create(self, key: ApiKey, text: KeyText, nonce: bytes, request: KeyRequest) -> bytes:
        names = KeyNames(key.tenant)
        ends_ms: float = _ms(key.expire_time_s) if key.expire_time_s else math.inf
        status, *rest = await _CREATE(
            self._together,
            (names.records, names.ends, names.used, names.request(request.request_id)),
            (
                key.key_id,
                _dump(key, text.digest),
                ends_ms,
                _ms(key.create_time_s),
                request.fingerprint,
                nonce,
                MAX_LIVE,
                MAX_LISTED,
                _ms(LISTED_S),
                _ms(_REQUEST_TTL_S),
            ),
        )
        if status == b"REUSED":
            raise request_id_reused(request.request_id)
        if status == b"FULL":
            raise too_many(int(rest[0]))
        return bytes(rest[0]) if status == b"AGAIN" else nonce

    async def keys(self, tenant: str, *, after: str, limit: int, now_s: float) -> list[ApiKey]:
        names = KeyNames(tenant)
        since_ms = _ms(now_s - LISTED_S)
        ids = await reached(self._together.send("ZRANGEBYSCORE", names.ends, since_ms, "+inf"))
        page = sorted(key_id for key_id in ids if key_id.decode() > after)[:limit]
        if not page:
            return []
        records, used = await asyncio.gather(
            reached(self._together.send("HMGET", names.records, *page)),
            reached(self._together.send("HMGET", names.used, *page)),
        )
        return [_load(tenant, record, at)[0] for record, at in zip(records, used, strict=True) if record is not None]

    async def revoke(self, tenant: str, key_id: str, now_s: float) -> ApiKey:
        names = KeyNames(tenant)
        found = await _REVOKE(self._together, (names.records, names.ends, names.used), (key_id, _ms(now_s)))
        if not found:
            raise key_not_found(key_id)
        return _load(tenant, *found)[0]

    async def find(self, tenant: str, key_id: str) -> tuple[ApiKey, bytes] | None:
        names = KeyNames(tenant)
        record, used = await asyncio.gather(
            reached(self._together.send("HGET", names.records, key_id)),
            reached(self._together.send("HGET", names.used, key_id)),
        )
        return None if record is None else _load(tenant, record, used)

    def note_use(self, key: ApiKey, now_s: float) -> None:
        if now_s - key.last_use_time_s < USED_EVERY_S:
            return
        task = asyncio.get_running_loop().create_task(self._note(key, now_s))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _note(self, key: ApiKey, now_s: float) -> None:
        try:
            await reached(self._together.send("HSET", KeyNames(key.tenant).used, key.key_id, _ms(now_s)))
        except (UnavailableError, RedisError) as error:
            logs.warning("the use of an API key is not noted", key_id=key.key_id, error=str(error))


def _dump(key: ApiKey, digest: bytes) -> bytes:
    return orjson.dumps(
        {
            "id": key.key_id,
            "digest": digest.hex(),
            "description": key.description,
            "scopes": key.scopes,
            "plan": key.plan,
            "create_ms": _ms(key.create_time_s),
            "expire_ms": _ms(key.expire_time_s),
            "revoke_ms": _ms(key.revoke_time_s),
        }
    )


def _load(tenant: str, record: bytes, used_ms: bytes | None) -> tuple[ApiKey, bytes]:
    fields: dict[str, Any] = orjson.loads(record)
    key = ApiKey(
        key_id=fields["id"],
        tenant=tenant,
        description=fields["description"],
        scopes=tuple(fields["scopes"]),
        plan=fields["plan"],
        create_time_s=fields["create_ms"] / 1000,
        expire_time_s=fields["expire_ms"] / 1000,
        revoke_time_s=fields["revoke_ms"] / 1000,
        last_use_time_s=int(used_ms or 0) / 1000,
    )
    return key, bytes.fromhex(fields["digest"])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
