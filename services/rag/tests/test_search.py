"""Searching: only what is current, whatever the index still holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.errors.errors import DeadlineExceededError, NotFoundError, Reason
from libs.testing.eventually import eventually
from services.rag.app.search_passages import Found
from services.rag.domain.documents import IngestOutcome
from services.rag.ports import Ingested, PassageVector, RequestKey, Scope
from services.rag.tests.fakes import ENGINE, passage, unavailable, vector_of
from services.rag.tests.world import COLLECTION, NO_ID, TENANT, World


async def filled(*documents: str) -> World:
    """A world with documents whose ids are their first words."""
    world = await World().with_collection()
    for text in documents:
        await world.put(text.split()[0], text)
    return world


async def test_finds_the_best_first() -> None:
    """Hits are ordered by score; the answer tells the generation and the cost."""
    world = await filled("whale animal of the oceans", "eagle animal of the cliffs")
    found = await world.search(TENANT, COLLECTION, "animal of the oceans", 5)
    assert [hit.passage.document_id for hit in found.hits] == ["whale", "eagle"]
    generation = (await world.catalogue.collection(TENANT, COLLECTION)).generation
    assert found == Found(found.hits, generation, 4, lexical_only=False, may_be_kept=True)


async def test_deleted_and_replaced_documents_are_not_found_though_their_passages_are_there() -> None:
    """What the index still holds of them does not count."""
    world = await filled("whale text", "eagle text")
    await world.put("eagle", "new words")
    await world.catalogue.delete_document(TENANT, COLLECTION, "whale", NO_ID)
    assert len(world.index.points) == 3
    assert await world.found("text") == []
    assert await world.found("new") == ["eagle"]


async def test_a_search_that_is_left_short_asks_again() -> None:
    """Garbage that outranks what is current is left out, until there is enough; and the rounds are bounded."""
    world = await filled("target text")
    for number in range(30):
        await world.put("noisy", f"text text text {number}")
    world.index.searches = 0
    assert sorted(await world.found("text", top_k=2)) == ["noisy", "target"]
    assert world.index.searches > 1
    for number in range(1000):
        await world.put("noisy", f"text text text {number}")
    world.index.searches = 0
    await world.found("text", top_k=2)
    assert world.index.searches <= 6


async def test_a_document_replaced_during_the_search_is_found() -> None:
    """Its old passages are dropped, and its new ones, which the index did not have yet, are asked for."""
    world = await filled("doc text one")

    async def put_again() -> None:
        await world.put("doc", "doc text two")

    world.index.on_search.append(put_again)
    found = await world.search(TENANT, COLLECTION, "text", 5)
    assert [hit.passage.text for hit in found.hits] == ["doc text two"]


async def test_a_version_that_becomes_current_during_the_search_is_found() -> None:
    """Though an earlier round has seen its passages and left them out, for it was not current then."""
    world = await filled("other text", "doc text one")
    collection = await world.catalogue.collection(TENANT, COLLECTION)
    before = await world.catalogue.document(TENANT, COLLECTION, "doc")
    after = replace(before, version_id="pending")
    await world.catalogue.begin_version(TENANT, collection, "doc", "pending")
    new = PassageVector(passage("doc", "doc text two", version_id="pending"), vector_of("text"), "doc text two")
    await world.index.add(Scope(TENANT, collection.uid), ENGINE, [new])

    async def replace_other() -> None:
        await world.put("other", "other text anew")

    async def make_current() -> None:
        made = Ingested(after, IngestOutcome.REPLACED, 0)
        await world.catalogue.make_current(TENANT, collection, made, before.version_id, NO_ID)

    world.index.on_search += [replace_other, make_current]
    found = await world.search(TENANT, COLLECTION, "text", 5)
    assert sorted(hit.passage.text for hit in found.hits) == ["doc text two", "other text anew"]


async def test_a_document_deleted_during_the_search_is_not_found() -> None:
    """Deleted before the answer is deleted."""
    world = await filled("doc text", "other text")

    async def delete() -> None:
        await world.catalogue.delete_document(TENANT, COLLECTION, "doc", NO_ID)

    world.index.on_search.append(delete)
    assert await world.found("text") == ["other"]


async def test_a_collection_deleted_during_the_search_is_not_found() -> None:
    """Also when one of the same name has been made since."""
    world = await filled("doc text")

    async def recreate() -> None:
        await world.catalogue.delete_collection(TENANT, COLLECTION, NO_ID)
        await world.catalogue.create_collection(TENANT, COLLECTION, "", RequestKey())

    world.index.on_search.append(recreate)
    with pytest.raises(NotFoundError) as caught:
        await world.found("text")
    assert caught.value.reason is Reason.COLLECTION_NOT_FOUND
    assert await world.found("text") == []


async def test_without_the_embedder_words_are_searched_alone() -> None:
    """The answer says so; a passed deadline is no reason to go on."""
    world = await filled("whale animal", "eagle bird")
    world.embedder.failure = unavailable("embedding")
    found = await world.search(TENANT, COLLECTION, "eagle", 5)
    assert ([hit.passage.document_id for hit in found.hits], found.lexical_only) == (["eagle"], True)
    assert [hit.similarity for hit in found.hits] == [None]
    world.embedder.failure = DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late")
    with pytest.raises(DeadlineExceededError):
        await world.found("eagle")


async def test_a_late_embedder_delays_a_search_only_so_long() -> None:
    """It is by words alone then; an ingest, which cannot do without vectors, waits for them."""
    world = await filled("whale animal", "eagle bird")
    world.embedder.go_on.clear()
    ingest = asyncio.create_task(world.put("owl", "owl bird"))
    await eventually(lambda: world.embedder.calls[-1] == ["owl bird"], within_s=30)
    found = await world.search(TENANT, COLLECTION, "eagle", 5)
    assert ([hit.passage.document_id for hit in found.hits], found.lexical_only) == (["eagle"], True)
    world.embedder.go_on.set()
    assert (await ingest).outcome is IngestOutcome.CREATED


async def test_an_empty_collection_has_nothing() -> None:
    """With and without the embedder."""
    world = await World().with_collection()
    assert await world.found("text") == []
    world.embedder.failure = unavailable("embedding")
    assert await world.found("text") == []
