"""The server's answers, compared with those of qdrant-client's own implementation in memory."""

import asyncio
import random
import uuid
import warnings
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, models

POINTS, SIZE, TERMS = 800, 32, 400
TOLERANCE = 2e-5
COLLECTION: dict[str, Any] = {
    "vectors_config": {"dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)},
    "sparse_vectors_config": {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
}
Pair = tuple[AsyncQdrantClient, AsyncQdrantClient]


def point_id(number: int) -> int | str:
    return number if number % 3 else str(uuid.UUID(int=number))


def dense(source: random.Random) -> list[float]:
    centre = random.Random(source.randrange(12))
    return [centre.gauss(0, 1) + 0.7 * source.gauss(0, 1) for _ in range(SIZE)]


def sparse(source: random.Random, count: int) -> models.SparseVector:
    terms = sorted({int(source.paretovariate(0.4)) % TERMS for _ in range(count)})
    return models.SparseVector(indices=terms, values=[round(source.uniform(0.1, 2), 3) for _ in terms])


def points() -> list[models.PointStruct]:
    source = random.Random(7)
    return [
        models.PointStruct(
            id=point_id(number),
            vector={"dense": dense(source), "bm25": sparse(source, 30)},
            payload={
                "tenant": f"t{number % 7}",
                "number": number,
                "share": number / 8,
                "tags": ["all", f"x{number % 5}"],
                "on": number % 2 == 0,
                "deep": {"list": [1, None, {"z": 2.5}], "empty": {}},
                "when": f"2024-01-{1 + number % 28:02d}T00:00:00Z",
            },
        )
        for number in range(POINTS)
    ]


def match(key: str, value: str | int | bool) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


FILTERS: dict[str, models.Filter | None] = {
    "none": None,
    "tenant": models.Filter(must=[match("tenant", "t3")]),
    "range-not-bool": models.Filter(
        must=[models.FieldCondition(key="number", range=models.Range(gte=50, lt=600))], must_not=[match("on", True)]
    ),
    "should": models.Filter(should=[match("tags", "x1"), match("tenant", "t2")]),
    "any-ids": models.Filter(
        must=[
            models.FieldCondition(key="tenant", match=models.MatchAny(any=["t1", "t5"])),
            models.HasIdCondition(has_id=[point_id(number) for number in range(300)]),
        ]
    ),
    "dates": models.Filter(
        must=[
            models.FieldCondition(
                key="when",
                range=models.DatetimeRange(gte="2024-01-05T00:00:00Z", lt="2024-01-20T00:00:00Z"),  # type: ignore[arg-type]
            )
        ]
    ),
    "min-should": models.Filter(
        min_should=models.MinShould(
            conditions=[match("tenant", "t1"), match("on", True), match("tags", "x0")], min_count=2
        )
    ),
    "except": models.Filter(
        must_not=[models.FieldCondition(key="tenant", match=models.MatchExcept(**{"except": ["t0", "t4"]}))]
    ),
    "nested-integer": models.Filter(
        must=[models.Filter(should=[match("number", 5), match("number", 6), match("number", 7)])]
    ),
    "empty": models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="absent"))]),
    "no-hit": models.Filter(must=[match("tenant", "nobody")]),
}


def query(kind: str, source: random.Random, chosen: models.Filter | None) -> dict[str, Any]:
    vector, terms = dense(source), sparse(source, 8)
    prefetch = [
        models.Prefetch(query=vector, using="dense", limit=40, filter=chosen),
        models.Prefetch(query=terms, using="bm25", limit=40, filter=chosen),
    ]
    corpus = models.SearchParams(idf=models.IdfCorpusParams(corpus=chosen or models.Filter()))
    rrf = models.FusionQuery(fusion=models.Fusion.RRF)
    arguments: dict[str, dict[str, Any]] = {
        "dense": {"query": vector, "using": "dense", "query_filter": chosen},
        "bm25-corpus": {"query": terms, "using": "bm25", "query_filter": chosen, "search_params": corpus},
        "bm25": {"query": terms, "using": "bm25", "query_filter": chosen},
        "dbsf": {"prefetch": prefetch, "query": models.FusionQuery(fusion=models.Fusion.DBSF)},
        "rrf": {"prefetch": prefetch, "query": rrf},
        "rrf-k": {"prefetch": prefetch, "query": models.RrfQuery(rrf=models.Rrf(k=60))},
        "threshold": {"query": vector, "using": "dense", "score_threshold": 0.1, "query_filter": chosen},
        "offset": {"query": vector, "using": "dense", "offset": 7, "query_filter": chosen},
        "rescore": {
            "prefetch": [models.Prefetch(prefetch=prefetch, query=rrf, limit=30)],
            "query": vector,
            "using": "dense",
        },
    }
    return arguments[kind]


KINDS = ["dense", "bm25", "bm25-corpus", "dbsf", "rrf", "rrf-k", "threshold", "offset", "rescore"]
KINDS_WITHOUT_TERMS = ["dense", "threshold", "offset"]


def assert_same(ours: Sequence[models.ScoredPoint], theirs: Sequence[models.ScoredPoint]) -> None:
    """Equal scores by rank; equal ids above the last score; equal payloads. Points of equal score may change places."""
    assert [point.score for point in ours] == pytest.approx([point.score for point in theirs], abs=TOLERANCE)
    last = theirs[-1].score + TOLERANCE if theirs else 0.0
    expected = {point.id: point for point in theirs if point.score > last}
    found = {point.id: point for point in ours if point.score > last}
    assert found.keys() == expected.keys()
    for point in ours:
        if point.id in expected:
            assert point.payload == expected[point.id].payload
            assert point.score == pytest.approx(expected[point.id].score, abs=TOLERANCE)


@pytest.fixture(scope="module")
async def both(client: AsyncQdrantClient) -> AsyncIterator[Pair]:
    """The server and the implementation in memory, with the same points."""
    warnings.filterwarnings("ignore", "Payload indexes have no effect")
    oracle = AsyncQdrantClient(":memory:")
    for one in (client, oracle):
        assert await one.create_collection("docs", **COLLECTION)
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        await one.create_payload_index("docs", "tenant", field_schema=tenant)
        await one.create_payload_index("docs", "number", field_schema=models.PayloadSchemaType.INTEGER)
        await one.create_payload_index("docs", "on", field_schema=models.PayloadSchemaType.BOOL)
        await one.create_payload_index("docs", "when", field_schema=models.PayloadSchemaType.DATETIME)
        for batch in (points()[:500], points()[500:]):
            await one.upsert("docs", batch, wait=True)
    yield client, oracle
    await oracle.close()


@pytest.mark.parametrize("chosen", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("kind", KINDS)
async def test_queries_answer_as_the_oracle(both: Pair, kind: str, chosen: models.Filter | None) -> None:
    """Dense, BM25 with IDF, fusions, threshold, offset and rescoring: the same points, scores and payloads."""
    source = random.Random(f"{kind} {chosen}")
    for _ in range(3):
        arguments = query(kind, source, chosen)
        ours, theirs = [
            (await one.query_points("docs", limit=10, with_payload=True, **arguments)).points for one in both
        ]
        assert_same(ours, theirs)


@pytest.mark.parametrize("chosen", FILTERS.values(), ids=FILTERS.keys())
async def test_scroll_and_count_answer_as_the_oracle(both: Pair, chosen: models.Filter | None) -> None:
    """Scrolling visits each matching point once, in the order of ids; the count is theirs."""
    visited = []
    for one in both:
        ids: list[models.ExtendedPointId] = []
        offset = None
        while True:
            rows, offset = await one.scroll("docs", scroll_filter=chosen, limit=97, offset=offset)
            ids += [row.id for row in rows]
            if offset is None:
                break
        assert len(ids) == (await one.count("docs", count_filter=chosen)).count
        visited.append(ids)
    assert visited[0] == visited[1]


async def test_retrieve_answers_as_the_oracle(both: Pair) -> None:
    """Points come back by id with payload and vectors; ids that are not there are left out."""
    wanted = [point_id(3), point_id(4), 999_999]
    ours, theirs = [
        sorted(await one.retrieve("docs", wanted, with_vectors=True), key=lambda row: str(row.id)) for one in both
    ]
    assert [row.id for row in ours] == [row.id for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.payload == other.payload
        assert isinstance(mine.vector, dict)
        assert isinstance(other.vector, dict)
        assert mine.vector["dense"] == pytest.approx(other.vector["dense"], abs=1e-6)
        terms, expected = mine.vector["bm25"], other.vector["bm25"]
        assert isinstance(terms, models.SparseVector)
        assert isinstance(expected, models.SparseVector)
        assert terms.indices == expected.indices
        assert terms.values == pytest.approx(expected.values, abs=1e-6)


async def test_payload_and_vectors_can_be_chosen(both: Pair) -> None:
    """Of payload and vectors only what is asked for is answered."""
    (row,) = await both[0].retrieve("docs", [1], with_payload=["tenant"], with_vectors=["bm25"])
    assert row.payload == {"tenant": "t1"}
    assert isinstance(row.vector, dict)
    assert row.vector.keys() == {"bm25"}
    without = models.PayloadSelectorExclude(exclude=["deep", "tags", "when"])
    (row,) = await both[0].retrieve("docs", [1], with_payload=without)
    assert row.payload == {"tenant": "t1", "number": 1, "share": 0.125, "on": False}
    assert row.vector is None


async def test_batches_and_simultaneous_queries_answer_as_single_ones(both: Pair) -> None:
    """Queries that are run together, by the caller or by the server, get the answers of each alone."""
    source = random.Random(3)
    client = both[0]
    requests = [models.QueryRequest(query=dense(source), using="dense", limit=5, with_payload=True) for _ in range(40)]

    async def alone(request: models.QueryRequest) -> models.QueryResponse:
        return await client.query_points("docs", query=request.query, using="dense", limit=5)

    one_by_one = [await alone(request) for request in requests]
    at_once = await asyncio.gather(*map(alone, requests))
    batched = await client.query_batch_points("docs", requests)
    for expected, *others in zip(one_by_one, at_once, batched, strict=True):
        for answer in others:
            assert [point.id for point in answer.points] == [point.id for point in expected.points]
            assert_same(answer.points, expected.points)


async def test_a_bad_query_does_not_spoil_its_neighbours(both: Pair) -> None:
    """Of queries that arrive together only the wrong one fails."""
    good = dense(random.Random(5))
    vectors = [good if number % 4 else [1.0] for number in range(24)]
    answers = await asyncio.gather(
        *(both[0].query_points("docs", query=vector, using="dense") for vector in vectors), return_exceptions=True
    )
    assert [isinstance(answer, Exception) for answer in answers] == [number % 4 == 0 for number in range(24)]


async def test_ties_are_ordered_by_id(client: AsyncQdrantClient) -> None:
    """Points of equal score are ordered by id, numbers before UUIDs, in every query."""
    await client.create_collection("ties", **COLLECTION)
    ids: list[int | str] = [point_id(number) for number in range(30)]
    vector = dense(random.Random(1))
    shuffled = random.Random(2).sample(ids, len(ids))
    await client.upsert("ties", [models.PointStruct(id=one, vector={"dense": vector}) for one in shuffled])
    found = (await client.query_points("ties", query=vector, using="dense", limit=30)).points
    assert [point.id for point in found] == sorted(ids, key=lambda one: (isinstance(one, str), one))


async def test_deletes_and_payload_changes_answer_as_the_oracle(both: Pair) -> None:
    """Deletes by filter and by id, and payload set by id and by filter, leave what they leave in the oracle."""
    for one in both:
        gone = models.FilterSelector(filter=models.Filter(must=[match("tenant", "t6")]))
        await one.delete("docs", points_selector=gone, wait=True)
        await one.delete("docs", points_selector=[point_id(1), point_id(3)], wait=True)
        await one.set_payload("docs", {"seen": True}, points=[point_id(4), point_id(9)])
        await one.set_payload("docs", {"late": 1}, points=models.Filter(must=[match("tenant", "t2")]))
    checks = [
        None,
        *(models.Filter(must=[one]) for one in (match("seen", True), match("late", 1), match("tenant", "t6"))),
    ]
    for check in checks:
        mine, other = [(await one.count("docs", count_filter=check)).count for one in both]
        assert mine == other
    source = random.Random(11)
    for kind in KINDS_WITHOUT_TERMS * 4:  # the engine counts deleted points in its term statistics until the next start
        arguments = query(kind, source, None)
        ours, theirs = [(await one.query_points("docs", with_payload=True, **arguments)).points for one in both]
        assert_same(ours, theirs)


async def test_collections_say_what_they_are(both: Pair) -> None:
    """A collection's info shows its vectors, indexes and counts, and names the tuning that has no effect."""
    client = both[0]
    hnsw = models.HnswConfigDiff(m=0, payload_m=16)
    await client.create_collection(
        "tuned",
        vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
        shard_number=6,
        hnsw_config=hnsw,
    )
    await client.create_payload_index("tuned", "n", field_schema=models.PayloadSchemaType.INTEGER)
    await client.upsert("tuned", [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0, 4.0], payload={"n": 1})])
    info = await client.get_collection("tuned")
    assert info.points_count == 1
    assert info.config.params.vectors == models.VectorParams(size=4, distance=models.Distance.DOT)
    assert (info.payload_schema["n"].data_type, info.payload_schema["n"].points) == ("integer", 1)
    assert [warning.message for warning in info.warnings or []] == [
        "hnsw_config is recorded only",
        "shard_number is recorded only",
    ]
    assert (await client.query_points("tuned", query=[1.0, 1.0, 1.0, 1.0])).points[0].score == pytest.approx(10)
    assert "tuned" in [one.name for one in (await client.get_collections()).collections]
    assert await client.collection_exists("tuned")
    assert await client.delete_collection("tuned")
    assert not await client.collection_exists("tuned")
    assert not await client.delete_collection("tuned")
