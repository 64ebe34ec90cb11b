"""What every passage index promises: the fake of the use cases' tests, and the one in Qdrant."""

from __future__ import annotations

import uuid

from qdrant_client import AsyncQdrantClient

from services.rag.adapters.index import QdrantIndex
from services.rag.adapters.terms import Bm25Terms
from services.rag.domain.documents import Engine
from services.rag.ports import Garbage, PassageIndex, PassageVector, Query, Scope
from services.rag.tests.fakes import ENGINE, passage, vector_of

TEXTS = {
    "whale": "The blue whale is the largest animal of the oceans.",
    "eagle": "The eagle builds its nest on high cliffs.",
    "python": "The python swallows its prey whole.",
}


def scope_of(tenant: str) -> Scope:
    """A collection that no other test has."""
    return Scope(tenant, str(uuid.uuid4()))


async def fill(index: PassageIndex, scope: Scope, *, engine: Engine = ENGINE) -> dict[str, str]:
    """The three texts, a document and version each; the version ids by document."""
    versions = {name: str(uuid.uuid4()) for name in TEXTS}
    for name, text in TEXTS.items():
        made = passage(name, text, version_id=versions[name], title=f"About the {name}")
        await index.add(scope, engine, [PassageVector(made, vector_of(text), text)])
    return versions


def query_of(text: str, *, dense: bool = True) -> Query:
    """A query with its vector, or without."""
    return Query(text, vector_of(text) if dense else None)


async def test_finds_by_meaning_and_words(index: PassageIndex, tenant: str) -> None:
    """The best hit comes first, whole as it was added, with its similarity."""
    scope = scope_of(tenant)
    versions = await fill(index, scope)
    hits = await index.search(scope, ENGINE, query_of("largest animal of the oceans"), limit=3)
    assert hits[0].passage == passage("whale", TEXTS["whale"], version_id=versions["whale"], title="About the whale")
    assert hits[0].similarity is not None
    assert 0.5 < hits[0].similarity <= 1.0
    assert hits[0].score > hits[1].score


async def test_finds_by_words_alone(index: PassageIndex, tenant: str) -> None:
    """Without a vector only passages with a word of the query are found, and they have no similarity."""
    scope = scope_of(tenant)
    await fill(index, scope)
    hits = await index.search(scope, ENGINE, query_of("eagle cliffs", dense=False), limit=3)
    assert [(hit.passage.document_id, hit.similarity) for hit in hits] == [("eagle", None)]


async def test_keeps_tenants_collections_and_engines_apart(index: PassageIndex, tenant: str) -> None:
    """No passage of another tenant, collection or engine is found, whatever its name."""
    scope = scope_of(tenant)
    await fill(index, scope)
    query = query_of(TEXTS["whale"])
    for other in (Scope(tenant + "2", scope.uid), Scope(tenant, str(uuid.uuid4()))):
        assert await index.search(other, ENGINE, query, limit=3) == []
    assert await index.search(scope, Engine("other/engine", "1"), query, limit=3) == []
    assert len(await index.search(scope, ENGINE, query, limit=3)) == 3


async def test_leaves_out_versions(index: PassageIndex, tenant: str) -> None:
    """Hits of versions that are not wanted make room for others."""
    scope = scope_of(tenant)
    versions = await fill(index, scope)
    query = query_of(TEXTS["whale"])
    (best,) = await index.search(scope, ENGINE, query, limit=1)
    (next_best,) = await index.search(scope, ENGINE, query, limit=1, without={versions["whale"]})
    assert best.passage.document_id == "whale"
    assert next_best.passage.document_id != "whale"


async def test_adding_twice_is_adding_once(index: PassageIndex, tenant: str) -> None:
    """A batch that is written again leaves what is there."""
    scope = scope_of(tenant)
    item = PassageVector(passage("d", "text", version_id=str(uuid.uuid4())), vector_of("text"), "text")
    for _ in range(2):
        await index.add(scope, ENGINE, [item])
    assert await index.count(Garbage(scope)) == 1


async def test_removes_a_version_and_a_collection(index: PassageIndex, tenant: str) -> None:
    """Only what is named is taken away, of every engine; a second time is no error."""
    scope, bystander = scope_of(tenant), scope_of(tenant)
    versions = await fill(index, scope)
    await fill(index, scope, engine=Engine("fake", "2"))
    await fill(index, bystander)
    for _ in range(2):
        await index.remove(Garbage(scope, versions["whale"]))
        assert await index.count(Garbage(scope, versions["whale"])) == 0
        assert await index.count(Garbage(scope)) == 5
    await index.remove(Garbage(scope))
    assert await index.count(Garbage(scope)) == 0
    assert await index.search(scope, ENGINE, query_of(TEXTS["eagle"]), limit=3) == []
    assert await index.count(Garbage(bystander)) == 3


async def test_a_lost_collection_is_made_again(qdrant: AsyncQdrantClient, tenant: str) -> None:
    """Where Qdrant has lost everything while rag ran, the next ingest works."""
    engine, scope = Engine("lost", str(uuid.uuid4())), scope_of(tenant)
    index = QdrantIndex(qdrant, Bm25Terms())
    await fill(index, scope, engine=engine)
    for collection in (await qdrant.get_collections()).collections:
        if collection.name.endswith(engine.version):
            await qdrant.delete_collection(collection.name)
    assert await index.search(scope, engine, query_of(TEXTS["whale"]), limit=3) == []
    await fill(index, scope, engine=engine)
    assert len(await index.search(scope, engine, query_of(TEXTS["whale"]), limit=3)) == 3
