"""What every catalogue promises: the fake of the use cases' tests, and the one in Redis."""

from __future__ import annotations

import asyncio
import uuid

from redis.asyncio import Redis

from libs.errors.errors import Reason, ServiceError
from libs.store.stamps import tenant_stamps
from services.rag.adapters.catalogue_keys import TenantKeys
from services.rag.domain.documents import Collection, Document, Engine, IngestOutcome, MediaType
from services.rag.ports import Catalogue, Garbage, Ingested, RequestKey, Scope
from services.rag.tests.conftest import CatalogueUnderTest, redis_catalogue

NO_ID = RequestKey()


def request_key(fingerprint: str = "a") -> RequestKey:
    """A fresh request id."""
    return RequestKey(str(uuid.uuid4()), fingerprint * 64)


def ingested(document_id: str, *, version_id: str = "", outcome: IngestOutcome = IngestOutcome.CREATED) -> Ingested:
    """An ingest's answer, as the use case makes it."""
    document = Document(
        document_id=document_id,
        title="A title",
        source_uri="file:///x",
        media_type=MediaType.MARKDOWN,
        content_hash="ab" * 32,
        version_id=version_id or str(uuid.uuid4()),
        size_bytes=3,
        passage_count=1,
        create_time_s=1.5,
        update_time_s=2.5,
        given_title="",
        engine=Engine("m", "1"),
    )
    return Ingested(document, outcome, 7)


async def put(
    catalogue: Catalogue, tenant: str, collection: Collection, document_id: str, *, replaces: str = ""
) -> Document:
    """Makes a new version of a document current."""
    new = ingested(document_id)
    await catalogue.begin_version(tenant, collection, document_id, new.document.version_id)
    return (await catalogue.make_current(tenant, collection, new, replaces, NO_ID)).document


async def reason_of(call: object) -> Reason | None:
    """Why a call fails; None where it does not."""
    try:
        await call  # type: ignore[misc]
    except ServiceError as error:
        return error.reason
    return None


async def test_collections_are_kept_by_tenant_and_name(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """A collection is found as it was created, twice it is refused, and another tenant has it not."""
    catalogue = catalogue_case.make()
    made = await catalogue.create_collection(tenant, "faq", "Questions", NO_ID)
    assert await catalogue.collection(tenant, "faq") == made
    assert (made.name, made.description, made.document_count, made.engine) == ("faq", "Questions", 0, None)
    assert await reason_of(catalogue.create_collection(tenant, "faq", "", NO_ID)) is Reason.COLLECTION_EXISTS
    for foreign in (tenant + "2", tenant.upper(), "*"):
        assert await reason_of(catalogue.collection(foreign, "faq")) is Reason.COLLECTION_NOT_FOUND
        assert await reason_of(catalogue.delete_collection(foreign, "faq", NO_ID)) is Reason.COLLECTION_NOT_FOUND


async def test_lists_are_ordered_and_continue(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """Pages follow each other by name, and by document id, without gap or double."""
    catalogue = catalogue_case.make()
    for name in ("b", "a", "c.d", "B"):
        await catalogue.create_collection(tenant, name, "", NO_ID)
    first = await catalogue.collections(tenant, after="", limit=3)
    rest = await catalogue.collections(tenant, after=first[-1].name, limit=3)
    assert [collection.name for collection in (*first, *rest)] == ["B", "a", "b", "c.d"]
    for document_id in ("z", "y", "x"):
        await put(catalogue, tenant, first[0], document_id)
    page = await catalogue.documents(tenant, "B", after="", limit=2)
    assert [document.document_id for document in page] == ["x", "y"]
    assert [each.document_id for each in await catalogue.documents(tenant, "B", after="y", limit=2)] == ["z"]
    assert await catalogue.documents(tenant, "B", after="z", limit=2) == []
    assert await reason_of(catalogue.documents(tenant, "nope", after="", limit=2)) is Reason.COLLECTION_NOT_FOUND


async def test_a_collection_deleted_meanwhile_does_not_end_a_list(redis: Redis, tenant: str) -> None:
    """A name that is read, and whose collection is gone when it is looked up, makes no page shorter."""
    catalogue = redis_catalogue(redis).make()
    for name in ("a", "c", "d"):
        await catalogue.create_collection(tenant, name, "", NO_ID)
    await redis.zadd(TenantKeys(tenant).names, {"b": 0})
    found = await catalogue.collections(tenant, after="", limit=3)
    assert [collection.name for collection in found] == ["a", "c", "d"]


async def test_stamps_follow_generations(redis: Redis, tenant: str) -> None:
    """Whatever changes a collection's generation has changed its stamp; where there is no collection there is none."""
    catalogue = redis_catalogue(redis).make()
    stamps = tenant_stamps(tenant)

    async def stamp_is_right() -> bool:
        generation = (await catalogue.collection(tenant, "c")).generation
        return await redis.hgetall(stamps) == {b"collection/c": str(generation).encode()}

    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    seen = [await redis.hget(stamps, "collection/c")]
    first = await put(catalogue, tenant, collection, "d")
    seen.append(await redis.hget(stamps, "collection/c"))
    await put(catalogue, tenant, collection, "d", replaces=first.version_id)
    seen.append(await redis.hget(stamps, "collection/c"))
    await catalogue.delete_document(tenant, "c", "d", NO_ID)
    seen.append(await redis.hget(stamps, "collection/c"))
    assert len({*seen, None}) == 5
    assert await stamp_is_right()
    await catalogue.delete_collection(tenant, "c", NO_ID)
    assert await redis.hgetall(stamps) == {}
    await catalogue.create_collection(tenant, "c", "", NO_ID)
    assert await redis.hget(stamps, "collection/c") not in seen
    assert await stamp_is_right()


async def test_a_refused_write_changes_no_stamp(redis: Redis, tenant: str) -> None:
    """Nor does one that is answered again."""
    catalogue = redis_catalogue(redis).make(max_collections=1)
    create = request_key()
    collection = await catalogue.create_collection(tenant, "c", "", create)
    await put(catalogue, tenant, collection, "d")
    before = await redis.hgetall(tenant_stamps(tenant))
    await catalogue.create_collection(tenant, "c", "", create)
    assert await reason_of(catalogue.create_collection(tenant, "c2", "", NO_ID)) is Reason.QUOTA_EXCEEDED
    assert await reason_of(put(catalogue, tenant, collection, "d", replaces="other")) is Reason.WRITE_CONFLICT
    assert await reason_of(catalogue.delete_document(tenant, "c", "no", NO_ID)) is Reason.DOCUMENT_NOT_FOUND
    assert await reason_of(catalogue.delete_collection(tenant, "c2", NO_ID)) is Reason.COLLECTION_NOT_FOUND
    assert await redis.hgetall(tenant_stamps(tenant)) == before


async def test_a_collection_that_has_no_stamp_gets_one_when_it_is_read(redis: Redis, tenant: str) -> None:
    """It is older than stamps are, or they were lost, or are false."""
    catalogue = redis_catalogue(redis).make()
    generation = (await catalogue.create_collection(tenant, "c", "", NO_ID)).generation
    await redis.delete(tenant_stamps(tenant))
    for _ in range(2):
        await catalogue.collection(tenant, "c")
        assert await redis.hgetall(tenant_stamps(tenant)) == {b"collection/c": str(generation).encode()}
        await redis.hset(tenant_stamps(tenant), "collection/c", "0")
    assert await reason_of(catalogue.collection(tenant, "none")) is Reason.COLLECTION_NOT_FOUND


async def test_a_version_becomes_current_in_one_step(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """The document, the versions, the count, the engine and the generation change together."""
    catalogue = catalogue_case.make()
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    new = ingested("d")
    await catalogue.begin_version(tenant, collection, "d", new.document.version_id)
    assert (await catalogue.current_versions(tenant, collection, ["d"])).versions == {}
    assert await reason_of(catalogue.document(tenant, "c", "d")) is Reason.DOCUMENT_NOT_FOUND
    assert await catalogue.make_current(tenant, collection, new, "", NO_ID) == new
    now = await catalogue.collection(tenant, "c")
    assert (now.document_count, now.engine) == (1, Engine("m", "1"))
    assert now.generation > collection.generation
    assert await catalogue.document(tenant, "c", "d") == new.document
    current = await catalogue.current_versions(tenant, collection, ["d", "e"])
    assert (current.versions, current.generation) == ({"d": new.document.version_id}, now.generation)


async def test_of_two_writers_one_wins(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """Versions that replace what is no longer current are refused, and nothing of them is kept."""
    catalogue = catalogue_case.make()
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    outcomes = await asyncio.gather(*(reason_of(put(catalogue, tenant, collection, "d")) for _ in range(8)))
    assert sorted(outcomes, key=str) == [None, *[Reason.WRITE_CONFLICT] * 7]
    before = await catalogue.document(tenant, "c", "d")
    after = await put(catalogue, tenant, collection, "d", replaces=before.version_id)
    assert await reason_of(put(catalogue, tenant, collection, "d", replaces=before.version_id)) is Reason.WRITE_CONFLICT
    assert await catalogue.document(tenant, "c", "d") == after


async def test_replaced_and_deleted_versions_become_garbage(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """What nobody finds any more is handed out for removal, until it is forgotten."""
    catalogue = catalogue_case.make(sweep_lease_s=0.1)
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    scope = Scope(tenant, collection.uid)
    first = await put(catalogue, tenant, collection, "d")
    assert await catalogue.claim_garbage(tenant, limit=10) == []
    second = await put(catalogue, tenant, collection, "d", replaces=first.version_id)
    assert await catalogue.claim_garbage(tenant, limit=10) == [Garbage(scope, first.version_id)]
    assert await catalogue.claim_garbage(tenant, limit=10) == [], "handed out to somebody already"
    await catalogue_case.wait(0.15)
    assert await catalogue.claim_garbage(tenant, limit=10) == [Garbage(scope, first.version_id)], "he did not come back"
    await catalogue.forget(Garbage(scope, first.version_id))
    await catalogue.delete_document(tenant, "c", "d", NO_ID)
    assert await catalogue.claim_garbage(tenant, limit=10) == [Garbage(scope, second.version_id)]
    await catalogue.forget(Garbage(scope, second.version_id))
    assert await catalogue.delete_collection(tenant, "c", NO_ID) == 0
    assert await catalogue.claim_garbage(tenant, limit=10) == [Garbage(scope)]
    assert tenant in [each async for each in catalogue.tenants()]


async def test_garbage_stays_for_its_grace(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """Nothing is handed out for removal before the grace has passed."""
    catalogue = catalogue_case.make(sweep_grace_s=0.3)
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    await put(catalogue, tenant, collection, "d")
    await catalogue.delete_document(tenant, "c", "d", NO_ID)
    assert await catalogue.claim_garbage(tenant, limit=10) == []
    await catalogue_case.wait(0.35)
    assert len(await catalogue.claim_garbage(tenant, limit=10)) == 1


async def test_a_version_whose_writer_died_is_swept(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """A pending version becomes garbage when its lease runs out, and can then no longer become current."""
    catalogue = catalogue_case.make(ingest_lease_s=0.2)
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    dead = ingested("d")
    await catalogue.begin_version(tenant, collection, "d", dead.document.version_id)
    await catalogue.renew_version(tenant, collection, "d", dead.document.version_id)
    assert await catalogue.claim_garbage(tenant, limit=10) == []
    await catalogue_case.wait(0.25)
    assert await reason_of(catalogue.make_current(tenant, collection, dead, "", NO_ID)) is Reason.WRITE_CONFLICT
    late = catalogue.renew_version(tenant, collection, "d", dead.document.version_id)
    assert await reason_of(late) is Reason.WRITE_CONFLICT
    swept = Garbage(Scope(tenant, collection.uid), dead.document.version_id)
    assert await catalogue.claim_garbage(tenant, limit=10) == [swept]
    assert await reason_of(catalogue.document(tenant, "c", "d")) is Reason.DOCUMENT_NOT_FOUND


async def test_an_abandoned_version_is_swept_and_a_current_one_is_not(
    catalogue_case: CatalogueUnderTest, tenant: str
) -> None:
    """Abandoning takes only what never became current."""
    catalogue = catalogue_case.make()
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    await catalogue.begin_version(tenant, collection, "d", "v1")
    await catalogue.abandon_version(tenant, collection, "v1")
    current = await put(catalogue, tenant, collection, "d")
    await catalogue.abandon_version(tenant, collection, current.version_id)
    assert await catalogue.claim_garbage(tenant, limit=10) == [Garbage(Scope(tenant, collection.uid), "v1")]


async def test_a_collection_made_again_is_empty(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """The new one has another uid, a higher generation and no document; writes meant for the old one fail."""
    catalogue = catalogue_case.make()
    old = await catalogue.create_collection(tenant, "c", "", NO_ID)
    for document_id in ("d", "e"):
        await put(catalogue, tenant, old, document_id)
    late = ingested("f")
    await catalogue.begin_version(tenant, old, "f", late.document.version_id)
    last = await catalogue.collection(tenant, "c")
    assert await catalogue.delete_collection(tenant, "c", NO_ID) == 2
    assert await reason_of(catalogue.current_versions(tenant, old, ["d"])) is Reason.COLLECTION_NOT_FOUND
    new = await catalogue.create_collection(tenant, "c", "", NO_ID)
    assert new.uid != old.uid
    assert new.generation > last.generation
    assert new.document_count == 0
    assert await catalogue.documents(tenant, "c", after="", limit=9) == []
    assert await reason_of(catalogue.make_current(tenant, old, late, "", NO_ID)) is Reason.COLLECTION_NOT_FOUND
    assert await reason_of(catalogue.begin_version(tenant, old, "f", "v")) is Reason.COLLECTION_NOT_FOUND
    assert await reason_of(catalogue.current_versions(tenant, old, ["d"])) is Reason.COLLECTION_NOT_FOUND


async def test_quotas(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """A tenant's collections and a collection's documents have a most; a replacement is no new document."""
    catalogue = catalogue_case.make(max_collections=1, max_documents=1)
    collection = await catalogue.create_collection(tenant, "c", "", NO_ID)
    assert await reason_of(catalogue.create_collection(tenant, "c2", "", NO_ID)) is Reason.QUOTA_EXCEEDED
    await catalogue.create_collection(tenant + "2", "c2", "", NO_ID)
    late = ingested("late")
    await catalogue.begin_version(tenant, collection, "late", late.document.version_id)
    only = await put(catalogue, tenant, collection, "d")
    assert await reason_of(put(catalogue, tenant, collection, "e")) is Reason.QUOTA_EXCEEDED
    assert await reason_of(catalogue.make_current(tenant, collection, late, "", NO_ID)) is Reason.QUOTA_EXCEEDED
    await put(catalogue, tenant, collection, "d", replaces=only.version_id)


async def test_a_request_id_returns_the_first_answer(catalogue_case: CatalogueUnderTest, tenant: str) -> None:
    """Every write with a known request id does nothing and answers as before; another request with that id is
    refused."""
    catalogue = catalogue_case.make()
    create, remove, delete, ingest = (request_key() for _ in range(4))
    collection = await catalogue.create_collection(tenant, "c", "x", create)
    assert await catalogue.create_collection(tenant, "c", "x", create) == collection
    reused = RequestKey(create.request_id, "b" * 64)
    assert await reason_of(catalogue.create_collection(tenant, "c2", "", reused)) is Reason.REQUEST_ID_REUSED

    new = ingested("d")
    await catalogue.begin_version(tenant, collection, "d", new.document.version_id)
    assert await catalogue.first_answer(tenant, ingest) is None
    await catalogue.make_current(tenant, collection, new, "", ingest)
    again = ingested("d", outcome=IngestOutcome.REPLACED)
    assert await catalogue.make_current(tenant, collection, again, "", ingest) == new
    assert await catalogue.first_answer(tenant, ingest) == new
    assert await catalogue.first_answer(tenant + "2", ingest) is None
    other = RequestKey(ingest.request_id, "b" * 64)
    assert await reason_of(catalogue.first_answer(tenant, other)) is Reason.REQUEST_ID_REUSED

    keep = request_key()
    assert await catalogue.keep_answer(tenant, again, keep) == again
    assert await catalogue.keep_answer(tenant, new, keep) == again
    assert await catalogue.first_answer(tenant, keep) == again
    assert await reason_of(catalogue.keep_answer(tenant, new, other)) is Reason.REQUEST_ID_REUSED
    assert await catalogue.keep_answer(tenant, new, NO_ID) == new

    await catalogue.delete_document(tenant, "c", "d", remove)
    await catalogue.delete_document(tenant, "c", "d", remove)
    assert await reason_of(catalogue.delete_document(tenant, "c", "d", NO_ID)) is Reason.DOCUMENT_NOT_FOUND
    await put(catalogue, tenant, collection, "e")
    assert await catalogue.delete_collection(tenant, "c", delete) == 1
    assert await catalogue.delete_collection(tenant, "c", delete) == 1
    assert await reason_of(catalogue.delete_collection(tenant, "c", NO_ID)) is Reason.COLLECTION_NOT_FOUND
