"""Ingesting: all or nothing, once."""

from __future__ import annotations

import asyncio

import pytest

from libs.errors.errors import Reason, ServiceError
from services.rag.domain.documents import Content, Engine, IngestOutcome, MediaType
from services.rag.ports import Garbage, RequestKey, Scope
from services.rag.tests.fakes import unavailable
from services.rag.tests.world import COLLECTION, TENANT, World

LONG = "# Title\n\n" + "\n\n".join(f"Paragraph {number} " + "word " * 15 for number in range(6))
REQUEST = RequestKey("7e0c3f0e-8f3a-4c0e-9e57-0c1c5b1b9f11", "a" * 64)


async def scope(world: World) -> Scope:
    """The collection's."""
    return Scope(TENANT, (await world.catalogue.collection(TENANT, COLLECTION)).uid)


async def test_an_ingested_document_is_found_and_described() -> None:
    """The answer has what was given and found out; the passages are in the index under the version."""
    world = await World().with_collection()
    ingested = await world.put("d", LONG)
    document = ingested.document
    assert ingested.outcome is IngestOutcome.CREATED
    assert (document.title, document.passage_count, document.size_bytes) == ("Title", 6, len(LONG))
    assert document == await world.catalogue.document(TENANT, COLLECTION, "d")
    assert await world.index.count(Garbage(await scope(world), document.version_id)) == 6
    assert ingested.input_tokens == sum(len(text.split()) for batch in world.embedder.calls for text in batch)
    assert max(map(len, world.embedder.calls)) == 2
    assert world.embedder.calls[0][0].startswith("Title\nParagraph 0")
    assert await world.found("paragraph 3") != []


async def test_titles() -> None:
    """A title is the given one, else the first heading, else the document's id, which is not embedded."""
    world = await World().with_collection()
    assert (await world.put("a", "# H\n\ntext", title="Given")).document.title == "Given"
    assert (await world.put("b", "# H\n\ntext")).document.title == "H"
    assert (await world.put("c", "text")).document.title == "c"
    assert world.embedder.calls == [["Given > H\ntext"], ["H\ntext"], ["text"]]


async def test_the_same_content_again_changes_nothing() -> None:
    """No passage is embedded, no generation passes; other content, title, source or media type is a new version."""
    world = await World().with_collection()
    first = await world.put("d", "text")
    before = await world.catalogue.collection(TENANT, COLLECTION)
    world.embedder.calls.clear()
    again = await world.put("d", "text")
    assert (again.outcome, again.document, again.input_tokens) == (IngestOutcome.UNCHANGED, first.document, 0)
    assert [text for call in world.embedder.calls for text in call if "text" in text] == []
    assert await world.catalogue.collection(TENANT, COLLECTION) == before
    for content in (
        Content(MediaType.MARKDOWN, b"other", "", "file:///x"),
        Content(MediaType.MARKDOWN, b"other", "T", "file:///x"),
        Content(MediaType.MARKDOWN, b"other", "T", "file:///y"),
        Content(MediaType.PLAIN, b"other", "T", "file:///y"),
    ):
        new = await world.ingest(TENANT, COLLECTION, "d", content, RequestKey())
        assert new.outcome is IngestOutcome.REPLACED
        assert new.document.create_time_s == first.document.create_time_s


async def test_another_engine_embeds_the_same_content_anew() -> None:
    """After the embedding model has changed, an ingest is not "unchanged"."""
    world = await World().with_collection()
    await world.put("d", "text")
    world.embedder.engine = Engine("fake", "2")
    assert (await world.put("d", "text")).outcome is IngestOutcome.REPLACED
    assert await world.found("text") == ["d"]


async def test_the_same_content_is_unchanged_while_nothing_embeds() -> None:
    """With the embedding service down, an ingest of what is current already does not fail."""
    world = await World().with_collection()
    await world.put("d", "text")
    world.embedder.failure = unavailable("embedding")
    assert (await world.put("d", "text")).outcome is IngestOutcome.UNCHANGED


async def test_a_request_id_is_answered_once() -> None:
    """The second call with a request id gets the first one's answer, though the document has changed since."""
    world = await World().with_collection()
    first = await world.put("d", "text", request=REQUEST)
    await world.put("d", "other")
    assert await world.put("d", "text", request=REQUEST) == first
    with pytest.raises(ServiceError) as caught:
        await world.put("d", "text", request=RequestKey(REQUEST.request_id, "b" * 64))
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_request_that_changed_nothing_is_answered_once() -> None:
    """Sent once more after somebody else's write, it does not undo that."""
    world = await World().with_collection()
    await world.put("d", "text")
    first = await world.put("d", "text", request=REQUEST)
    await world.put("d", "other")
    assert first.outcome is IngestOutcome.UNCHANGED
    assert await world.put("d", "text", request=REQUEST) == first
    assert await world.found("other") == ["d"]


@pytest.mark.parametrize("part", ["embedder", "index"])
async def test_a_failed_ingest_leaves_nothing(part: str) -> None:
    """The version before stays current and found, and what was written is swept."""
    world = await World().with_collection()
    before = await world.put("d", "old text")
    (world.embedder if part == "embedder" else world.index).failure = unavailable(part)
    with pytest.raises(ServiceError) as caught:
        await world.put("d", LONG)
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    world.embedder.failure = world.index.failure = None
    assert await world.catalogue.document(TENANT, COLLECTION, "d") == before.document
    assert await world.found("paragraph") == []
    await world.sweep()
    assert await world.index.count(Garbage(await scope(world))) == 1


async def test_a_cancelled_ingest_leaves_nothing() -> None:
    """A caller that leaves in the middle leaves no passage behind."""
    world = await World().with_collection()
    adding = asyncio.Event()

    async def never(*_: object) -> None:
        adding.set()
        await asyncio.Event().wait()

    world.index.add = never  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(world.put("d", LONG))
    await adding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await world.catalogue.claim_garbage(TENANT, limit=9) == [Garbage(await scope(world), "version-1")]


async def test_of_two_ingests_of_one_document_one_wins() -> None:
    """The other is told to try again; where it says the same, it is "unchanged". The loser's passages are swept."""
    world = await World().with_collection()
    results = await asyncio.gather(*(world.put("d", f"text {n}") for n in (1, 2)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AbortedError", "Ingested"]
    same = await asyncio.gather(*(world.put("e", "text") for _ in range(2)))
    assert [result.outcome for result in same] == [IngestOutcome.CREATED, IngestOutcome.UNCHANGED]
    await world.sweep()
    assert await world.index.count(Garbage(await scope(world))) == 2


async def test_bad_content_is_refused_before_anything_is_written() -> None:
    """Unreadable content, too many passages and unknown collections write nothing."""
    world = await World().with_collection()
    many = "\n\n".join(f"# H{number}\n\ntext" for number in range(21))
    cases = {"": Reason.DOCUMENT_UNREADABLE, many: Reason.FIELD_INVALID}
    for text, reason in cases.items():
        with pytest.raises(ServiceError) as caught:
            await world.put("d", text)
        assert caught.value.reason is reason
    with pytest.raises(ServiceError) as caught:
        await world.ingest(TENANT, "nope", "d", Content(MediaType.PLAIN, b"x"), RequestKey())
    assert caught.value.reason is Reason.COLLECTION_NOT_FOUND
    assert world.embedder.calls == []
    assert await world.catalogue.claim_garbage(TENANT, limit=9) == []
