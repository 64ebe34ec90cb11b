"""What the server does not serve, or must not accept, it refuses by name, and nothing is written."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.grpc import points_pb2

from libs.parts.processes import PartError, RunningPart
from libs.parts.qdrant import start_qdrant
from libs.testing.eventually import eventually

SIZE = 4
GOOD = [1.0, 2.0, 3.0, 4.0]
Connect = Callable[..., AbstractAsyncContextManager[AsyncQdrantClient]]
Call = Callable[[AsyncQdrantClient], Awaitable[Any]]


@pytest.fixture(scope="module")
async def docs(client: AsyncQdrantClient) -> AsyncIterator[AsyncQdrantClient]:
    """The client of a server with one collection and one point."""
    await client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    await client.upsert("docs", [models.PointStruct(id=1, vector={"dense": GOOD})])
    yield client


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    """The status and the text that a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


def upsert(vector: Any, point_id: int | str = 77) -> Call:
    # A valid point first: it must not be written either.
    batch = [models.PointStruct(id=76, vector={"dense": GOOD}), models.PointStruct(id=point_id, vector=vector)]
    return lambda client: client.upsert("docs", batch)


def geo_filter() -> models.Filter:
    near = models.GeoRadius(center=models.GeoPoint(lon=1, lat=1), radius=5)
    return models.Filter(must=[models.FieldCondition(key="place", geo_radius=near)])


UNSERVED: dict[str, tuple[Call, str]] = {
    "recommend": (
        lambda client: client.query_points(
            "docs", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[1])), using="dense"
        ),
        "Query.recommend",
    ),
    "order by": (
        lambda client: client.query_points("docs", query=models.OrderByQuery(order_by="n")),
        "Query.order_by",
    ),
    "no query": (lambda client: client.query_points("docs"), "QueryPoints without a query"),
    "query by id": (lambda client: client.query_points("docs", query=1, using="dense"), "VectorInput.id"),
    "inference": (
        lambda client: client.query_points("docs", query=models.Document(text="x", model="qdrant/bm25"), using="bm25"),
        "VectorInput.document",
    ),
    "lookup from": (
        lambda client: client.query_points(
            "docs", query=GOOD, using="dense", lookup_from=models.LookupLocation(collection="other")
        ),
        "QueryPoints.lookup_from",
    ),
    "indexed only": (
        lambda client: client.query_points(
            "docs", query=GOOD, using="dense", search_params=models.SearchParams(indexed_only=True)
        ),
        "SearchParams.indexed_only",
    ),
    "groups": (
        lambda client: client.query_points_groups("docs", group_by="tenant", query=GOOD, using="dense"),
        "/qdrant.Points/QueryGroups",
    ),
    "facet": (lambda client: client.facet("docs", "tenant"), "/qdrant.Points/Facet"),
    "aliases": (lambda client: client.get_aliases(), "/qdrant.Collections/ListAliases"),
    "snapshot": (lambda client: client.create_snapshot("docs"), "/qdrant.Snapshots/Create"),
    "overwrite payload": (
        lambda client: client.overwrite_payload("docs", {"a": 1}, points=[1]),
        "/qdrant.Points/OverwritePayload",
    ),
    "payload key": (lambda client: client.set_payload("docs", {"a": 1}, points=[1], key="b"), "SetPayloadPoints.key"),
    "shard key": (lambda client: client.count("docs", shard_key_selector="k"), "CountPoints.shard_key_selector"),
    "scroll order": (lambda client: client.scroll("docs", order_by="n"), "ScrollPoints.order_by"),
    "update filter": (
        lambda client: client.upsert(
            "docs", [models.PointStruct(id=5, vector={"dense": GOOD})], update_filter=geo_filter()
        ),
        "UpsertPoints.update_filter",
    ),
    "geo": (lambda client: client.count("docs", count_filter=geo_filter()), "FieldCondition.geo_radius"),
    "text match": (
        lambda client: client.count(
            "docs",
            count_filter=models.Filter(must=[models.FieldCondition(key="a", match=models.MatchText(text="x"))]),
        ),
        "Match.text",
    ),
    "text index": (
        lambda client: client.create_payload_index("docs", "a", models.PayloadSchemaType.TEXT),
        "CreateFieldIndexCollection.field_type FieldTypeText",
    ),
    "index on disk": (
        lambda client: client.create_payload_index(
            "docs", "a", models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True)
        ),
        "KeywordIndexParams.on_disk",
    ),
    "multivector": (
        lambda client: client.create_collection(
            "multi",
            vectors_config=models.VectorParams(
                size=4,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            ),
        ),
        "VectorParams.multivector_config",
    ),
    "half precision": (
        lambda client: client.create_collection(
            "half",
            vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16),
        ),
        "VectorParams.datatype Float16",
    ),
    "strict mode": (
        lambda client: client.create_collection(
            "strict",
            vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
            strict_mode_config=models.StrictModeConfig(enabled=True),
        ),
        "CreateCollection.strict_mode_config",
    ),
}


@pytest.mark.parametrize(("call", "name"), UNSERVED.values(), ids=UNSERVED.keys())
async def test_what_is_not_served_is_named(docs: AsyncQdrantClient, call: Call, name: str) -> None:
    """UNIMPLEMENTED, with the call's or the field's name: never silently something else."""
    assert await refusal(call(docs)) == ("UNIMPLEMENTED", f"{name} is not supported by the local Qdrant server")


SPARSE_TWICE = models.SparseVector(indices=[3, 3], values=[1.0, 2.0])
SPARSE_SHORT = models.SparseVector.model_construct(indices=[3, 4], values=[1.0])
INVALID: dict[str, tuple[Call, str]] = {
    "size": (upsert({"dense": [1.0, 2.0]}), "Vector dimension error: expected dim: 4, got 2"),
    "nan": (upsert({"dense": [1.0, math.nan, 1.0, 1.0]}), "Vector contains NaN or infinity"),
    "infinity": (upsert({"dense": [1.0, math.inf, -math.inf, 1.0]}), "Vector contains NaN or infinity"),
    "unknown vector": (upsert({"other": GOOD}), "Not existing vector name error: other"),
    "unnamed vector": (upsert(GOOD), "Not existing vector name error: "),
    "dense for sparse": (upsert({"bm25": GOOD}), "Vector 'bm25' must be sparse"),
    "sparse for dense": (upsert({"dense": SPARSE_TWICE}), "Sparse vector: indices must be unique"),
    "sparse twice": (upsert({"bm25": SPARSE_TWICE}), "Sparse vector: indices must be unique"),
    "sparse short": (upsert({"bm25": SPARSE_SHORT}), "Sparse vector: indices and values differ in length"),
    "sparse nan": (
        upsert({"bm25": models.SparseVector(indices=[3], values=[math.nan])}),
        "Sparse vector contains NaN or infinity",
    ),
    "id": (upsert({"dense": GOOD}, "not-a-uuid"), "Unable to parse UUID: 'not-a-uuid'"),
    "no points": (lambda client: client.upsert("docs", []), "Empty update request: points is empty"),
    "query size": (
        lambda client: client.query_points("docs", query=[1.0], using="dense"),
        "Vector dimension error: expected dim: 4, got 1",
    ),
    "query nan": (
        lambda client: client.query_points("docs", query=[math.nan] * 4, using="dense"),
        "Vector contains NaN or infinity",
    ),
    "query vector": (
        lambda client: client.query_points("docs", query=GOOD, using="other"),
        "Not existing vector name error: other",
    ),
    "fusion of nothing": (
        lambda client: client.query_points("docs", query=models.FusionQuery(fusion=models.Fusion.RRF)),
        "a fusion needs prefetches",
    ),
    "no limit": (
        lambda client: client.query_points("docs", query=GOOD, using="dense", limit=0),
        "limit must be at least 1",
    ),
    "wide limit": (lambda client: client.scroll("docs", limit=1_000_000), "limit 1000000 is above 10000"),
    "name": (
        lambda client: client.create_collection(
            "a/b", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
        ),
        "collection name 'a/b': 1 to 255 characters, none of <>:\"/\\|?* or control",
    ),
    "no vectors": (
        lambda client: client.create_collection("none", vectors_config={}),
        "the collection has no vectors: set vectors_config or sparse_vectors_config",
    ),
}


@pytest.mark.parametrize(("call", "text"), INVALID.values(), ids=INVALID.keys())
async def test_what_is_invalid_is_refused_whole(docs: AsyncQdrantClient, call: Call, text: str) -> None:
    """INVALID_ARGUMENT that says what is wrong; of a batch with one invalid point nothing is written."""
    assert await refusal(call(docs)) == ("INVALID_ARGUMENT", f"Wrong input: {text}")
    assert [row.id for row in (await docs.scroll("docs"))[0]] == [1]
    assert [one.name for one in (await docs.get_collections()).collections] == ["docs"]


async def test_what_is_not_there_is_not_found(docs: AsyncQdrantClient) -> None:
    """NOT_FOUND names a missing collection and a missing point, and of the points given none is changed."""
    assert await refusal(docs.count("other")) == ("NOT_FOUND", "Not found: Collection `other` doesn't exist!")
    set_both = docs.set_payload("docs", {"a": 1}, points=[1, 99])
    assert await refusal(set_both) == ("NOT_FOUND", "Not found: No point with id 99 found")
    assert (await docs.retrieve("docs", [1]))[0].payload == {}


async def test_a_collection_is_made_once(docs: AsyncQdrantClient) -> None:
    """ALREADY_EXISTS for a second collection of the same name."""
    again = docs.create_collection("docs", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    assert await refusal(again) == ("ALREADY_EXISTS", "Wrong input: Collection `docs` already exists!")


def raw(channel: grpc.aio.Channel, method: str) -> Callable[..., Awaitable[bytes]]:
    return channel.unary_unary(method)


async def test_a_body_that_is_no_message_is_refused(server: RunningPart) -> None:
    """INVALID_ARGUMENT for a garbage body, UNIMPLEMENTED for a call that nobody knows."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        garbage = raw(channel, "/qdrant.Points/Upsert")(b"\xff\xff\xff")
        assert await refusal(garbage) == ("INVALID_ARGUMENT", "Wrong input: the request is not a UpsertPoints message")
        status, text = await refusal(raw(channel, "/no.Service/Method")(b""))
        assert (status, text) == ("UNIMPLEMENTED", "/no.Service/Method is not supported by the local Qdrant server")


async def test_a_request_that_is_too_large_is_refused(server: RunningPart) -> None:
    """RESOURCE_EXHAUSTED above 32 MiB, and the server goes on."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        status, _ = await refusal(raw(channel, "/qdrant.Points/Upsert")(bytes(33 << 20)))
        assert status == "RESOURCE_EXHAUSTED"
        assert await raw(channel, "/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"


async def test_too_many_requests_at_once_are_refused(docs: AsyncQdrantClient, server: RunningPart) -> None:
    """While the engine does not move 512 requests wait for it; those above fail at once. All others are answered."""
    body = points_pb2.CountPoints(collection_name="docs", exact=True).SerializeToString()
    (engine,) = psutil.Process(server.pid).children()
    async with contextlib.AsyncExitStack() as stack:
        counts = []
        for number in range(3):  # a client has 256 calls under way at most
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.channel_id", number)]
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=options))
            counts += [raw(channel, "/qdrant.Points/Count")] * 256
        engine.suspend()
        try:
            calls = [asyncio.ensure_future(count(body)) for count in counts]
            await eventually(lambda: sum(call.done() for call in calls) == 256)
        finally:
            engine.resume()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {(one.code().name, one.details()) for one in refused} == {
        ("RESOURCE_EXHAUSTED", "too many requests in flight; try again later")
    }
    assert (len(refused), len(answers)) == (256, 768)


async def test_one_client_may_ask_as_much_as_it_likes(docs: AsyncQdrantClient) -> None:
    """What one client asks at a time and is too much for the server waits in the client; all of it is answered."""
    counts = await asyncio.gather(*(docs.count("docs") for _ in range(2000)))
    assert {one.count for one in counts} == {1}


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
async def test_the_api_key_is_asked_for(tmp_path: Path, log: Path, connect: Connect) -> None:
    """With a key set, calls without it and with a wrong one are UNAUTHENTICATED; health needs none."""
    part = start_qdrant(tmp_path / "data", log=log, api_key="s3cret")
    try:
        for key, expected in ((None, "UNAUTHENTICATED"), ("wrong", "UNAUTHENTICATED")):
            async with connect(part.address, key) as client:
                assert (await refusal(client.get_collections()))[0] == expected
        async with connect(part.address, "s3cret") as client:
            assert (await client.get_collections()).collections == []
        async with grpc.aio.insecure_channel(part.address) as channel:
            assert await raw(channel, "/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
            assert (await refusal(raw(channel, "/grpc.health.v1.Health/Check")(b"\n\x01x")))[0] == "NOT_FOUND"
    finally:
        part.stop()


def test_a_taken_port_is_named(tmp_path: Path, log: Path) -> None:
    """A server whose port is taken ends at once and says which."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PartError, match=f"port {port} is taken: stop what listens there, or choose another --port"):
            start_qdrant(tmp_path / "data", port, log=log)
