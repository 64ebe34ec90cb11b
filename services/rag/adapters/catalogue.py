"""The catalogue in Redis: what is true of collections and documents. Every write is one script, which also writes the
stamp of the collection that it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import orjson
from redis.asyncio import Redis

from services.rag.adapters.catalogue_keys import TENANTS, TenantKeys
from services.rag.adapters.catalogue_limits import CatalogueLimits
from services.rag.adapters.records import (
    dump_document,
    dump_ingested,
    load_collection,
    load_document,
    load_ingested,
)
from services.rag.adapters.scripts import Scripts, reached
from services.rag.domain import failures
from services.rag.domain.documents import Collection, Document
from services.rag.ports import CurrentVersions, Garbage, Ingested, RequestKey, Scope


class RedisCatalogue:
    """The port Catalogue over one Redis. `new_id` makes the uids of collections, `now_s` tells the time that is shown
    to people."""

    def __init__(
        self, redis: Redis, limits: CatalogueLimits, *, new_id: Callable[[], str], now_s: Callable[[], float]
    ) -> None:
        self._redis = redis
        self._limits = limits
        self._new_id = new_id
        self._now_s = now_s
        self._scripts = Scripts(redis)
        self._grace_ms = _ms(limits.sweep_grace_s)

    async def check(self) -> None:
        """Raises UnavailableError where Redis does not answer."""
        await reached(self._redis.ping())

    async def create_collection(self, tenant: str, name: str, description: str, request: RequestKey) -> Collection:
        keys = TenantKeys(tenant)
        await reached(self._redis.sadd(TENANTS, tenant))
        status, answer = await self._scripts.run(
            "create_collection",
            (keys.names, keys.of(name).collection, keys.generation, keys.stamps, keys.request(request.request_id)),
            (
                name,
                self._new_id(),
                description,
                _ms(self._now_s()),
                self._limits.max_collections,
                request.fingerprint,
            ),
        )
        if status == "FULL":
            raise failures.too_many_collections(self._limits.max_collections)
        self._raise_for(status, name, request)
        return load_collection(name, orjson.loads(answer), 0)

    async def collection(self, tenant: str, name: str) -> Collection:
        keys = TenantKeys(tenant)
        of = keys.of(name)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(of.collection)
            pipeline.hlen(of.versions)
            pipeline.hget(keys.stamps, keys.stamp(name))
            fields, count, stamp = await reached(pipeline.execute())
        if not fields:
            raise failures.no_collection(name)
        if stamp != fields[b"generation"]:
            await self._scripts.run("stamp_collection", (of.collection, keys.stamps), (name,))
        return load_collection(name, _text(fields), count)

    async def collections(self, tenant: str, *, after: str, limit: int) -> list[Collection]:
        keys = TenantKeys(tenant)
        found: list[Collection] = []
        while len(found) < limit:
            wanted = limit - len(found)
            first = f"({after}" if after else "-"
            names = await reached(self._redis.zrangebylex(keys.names, first, "+", start=0, num=wanted))
            found += await self._described(keys, [name.decode() for name in names])
            if len(names) < wanted:
                break
            after = names[-1].decode()  # One that was deleted meanwhile must not end the list.
        return found

    async def _described(self, keys: TenantKeys, names: Sequence[str]) -> list[Collection]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hgetall(keys.of(name).collection)
                pipeline.hlen(keys.of(name).versions)
            found = await reached(pipeline.execute())
        return [
            load_collection(name, _text(fields), count)
            for name, fields, count in zip(names, found[::2], found[1::2], strict=True)
            if fields
        ]

    async def delete_collection(self, tenant: str, name: str, request: RequestKey) -> int:
        keys = TenantKeys(tenant)
        of = keys.of(name)
        status, answer = await self._scripts.run(
            "delete_collection",
            (
                keys.names,
                of.collection,
                of.ids,
                of.documents,
                of.versions,
                keys.garbage,
                keys.stamps,
                keys.request(request.request_id),
            ),
            (name, self._grace_ms, request.fingerprint),
        )
        self._raise_for(status, name, request)
        return int(answer)

    async def document(self, tenant: str, name: str, document_id: str) -> Document:
        keys = TenantKeys(tenant).of(name)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.exists(keys.collection)
            pipeline.hget(keys.documents, document_id)
            exists, record = await reached(pipeline.execute())
        if not exists:
            raise failures.no_collection(name)
        if record is None:
            raise failures.no_document(name, document_id)
        return load_document(record)

    async def documents(self, tenant: str, name: str, *, after: str, limit: int) -> list[Document]:
        keys = TenantKeys(tenant).of(name)
        status, records = await self._scripts.run(
            "list_documents", (keys.collection, keys.ids, keys.documents), (after, limit), otherwise=()
        )
        self._raise_for(status, name)
        return [load_document(record) for record in records]

    async def delete_document(self, tenant: str, name: str, document_id: str, request: RequestKey) -> None:
        keys = TenantKeys(tenant)
        of = keys.of(name)
        status, _ = await self._scripts.run(
            "delete_document",
            (
                of.collection,
                of.ids,
                of.documents,
                of.versions,
                keys.garbage,
                keys.generation,
                keys.stamps,
                keys.request(request.request_id),
            ),
            (name, document_id, self._grace_ms, request.fingerprint),
        )
        if status == "NO_DOCUMENT":
            raise failures.no_document(name, document_id)
        self._raise_for(status, name, request)

    async def current_versions(
        self, tenant: str, collection: Collection, document_ids: Sequence[str]
    ) -> CurrentVersions:
        keys = TenantKeys(tenant).of(collection.name)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(keys.collection, ["uid", "generation"])
            if document_ids:
                pipeline.hmget(keys.versions, document_ids)
            (uid, generation), *versions = await reached(pipeline.execute())
        if uid is None or uid.decode() != collection.uid:
            raise failures.no_collection(collection.name)
        found = zip(document_ids, versions[0] if versions else (), strict=True)
        return CurrentVersions(int(generation), {key: version.decode() for key, version in found if version})

    async def first_answer(self, tenant: str, request: RequestKey) -> Ingested | None:
        if not request.request_id:
            return None
        entry = await reached(self._redis.get(TenantKeys(tenant).request(request.request_id)))
        if entry is None:
            return None
        if entry[:64].decode() != request.fingerprint:
            raise failures.request_id_reused(request.request_id)
        return load_ingested(entry[64:])

    async def keep_answer(self, tenant: str, ingested: Ingested, request: RequestKey) -> Ingested:
        if not request.request_id:
            return ingested
        key = TenantKeys(tenant).request(request.request_id)
        status, answer = await self._scripts.run("keep_answer", (key,), (request.fingerprint, dump_ingested(ingested)))
        self._raise_for(status, "", request)
        return load_ingested(answer)

    async def begin_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        await self._begin(tenant, collection, document_id, version_id, renews=False)

    async def renew_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        await self._begin(tenant, collection, document_id, version_id, renews=True)

    async def abandon_version(self, tenant: str, collection: Collection, version_id: str) -> None:
        keys = TenantKeys(tenant)
        member = f"{collection.uid}/{version_id}"
        await self._scripts.run("abandon_version", (keys.pending, keys.garbage), (member, self._grace_ms))

    async def make_current(
        self, tenant: str, collection: Collection, ingested: Ingested, replaces: str, request: RequestKey
    ) -> Ingested:
        keys = TenantKeys(tenant)
        of = keys.of(collection.name)
        document = ingested.document
        status, answer = await self._scripts.run(
            "make_current",
            (
                of.collection,
                of.ids,
                of.documents,
                of.versions,
                keys.pending,
                keys.garbage,
                keys.generation,
                keys.stamps,
                keys.request(request.request_id),
            ),
            (
                collection.name,
                collection.uid,
                document.document_id,
                document.version_id,
                replaces,
                dump_document(document),
                document.engine.model,
                document.engine.version,
                dump_ingested(ingested),
                self._limits.max_documents,
                self._grace_ms,
                request.fingerprint,
            ),
        )
        if status == "FULL":
            raise failures.too_many_documents(self._limits.max_documents)
        self._raise_for(status, collection.name, request)
        return load_ingested(answer)

    async def claim_garbage(self, tenant: str, *, limit: int) -> list[Garbage]:
        keys = TenantKeys(tenant)
        members = await self._scripts.returned(
            "claim_garbage",
            (keys.pending, keys.garbage),
            (limit, _ms(self._limits.sweep_lease_s), self._grace_ms),
        )
        pairs = [member.decode().split("/") for member in members]
        return [Garbage(Scope(tenant, uid), version_id) for uid, version_id in pairs]

    async def forget(self, garbage: Garbage) -> None:
        member = f"{garbage.scope.uid}/{garbage.version_id}"
        await reached(self._redis.zrem(TenantKeys(garbage.scope.tenant).garbage, member))

    async def tenants(self) -> AsyncIterator[str]:
        cursor: int | None = None
        while cursor != 0:
            cursor, found = await reached(self._redis.sscan(TENANTS, cursor or 0, count=100))
            for tenant in found:
                yield tenant.decode()

    async def _begin(
        self, tenant: str, collection: Collection, document_id: str, version_id: str, *, renews: bool
    ) -> None:
        keys = TenantKeys(tenant)
        of = keys.of(collection.name)
        lease_ms = _ms(self._limits.ingest_lease_s)
        status, _ = await self._scripts.run(
            "begin_version",
            (of.collection, of.versions, keys.pending),
            (collection.uid, document_id, version_id, lease_ms, self._limits.max_documents, int(renews)),
        )
        if status == "FULL":
            raise failures.too_many_documents(self._limits.max_documents)
        self._raise_for(status, collection.name)

    def _raise_for(self, status: str, name: str, request: RequestKey | None = None) -> None:
        """Raises the error that a script's status stands for, if it stands for one."""
        if status == "REUSED" and request is not None:
            raise failures.request_id_reused(request.request_id)
        if status == "MISSING":
            raise failures.no_collection(name)
        if status == "EXISTS":
            raise failures.collection_exists(name)
        if status in ("CONFLICT", "EXPIRED"):
            raise failures.write_conflict(name)


def _text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in fields.items()}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
