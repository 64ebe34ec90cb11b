"""Queries: nearest vectors, and the fusion of several such lists."""

import itertools
from collections.abc import Iterable
from typing import Any

import qdrant_edge as edge
from qdrant_client.grpc import points_pb2

from tools.qdrantlocal.convert.fields import only, put_point_id
from tools.qdrantlocal.convert.filters import filter_of, optional_filter
from tools.qdrantlocal.convert.payload import payload_selector, put_payload
from tools.qdrantlocal.convert.schema import Schema
from tools.qdrantlocal.convert.vectors import put_vectors, query_vector, vectors_selector
from tools.qdrantlocal.errors import invalid, unsupported

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
RRF_K = 2  # Qdrant's default; the paper's is 60
STAGE = ("prefetch", "query", "using", "filter", "params", "score_threshold", "limit")
FUSIONS = ("fusion", "rrf")


def query_request(message: points_pb2.QueryPoints, schema: Schema) -> edge.QueryRequest:
    only(message, *STAGE, "collection_name", "offset", "with_vectors", "with_payload")
    return edge.QueryRequest(
        offset=bounded("offset", message.offset) or None,
        with_vector=vectors_selector(message.with_vectors),
        with_payload=payload_selector(message.with_payload),
        **_stage(message, schema),
    )


def bounded(name: str, value: int) -> int:
    if value > MAX_LIMIT:
        raise invalid(f"{name} {value} is above {MAX_LIMIT}")
    return value


def limit_of(message: Any) -> int:
    """How many are asked for: 10 if the field is not set, at least one, bounded."""
    limit = message.limit if message.HasField("limit") else DEFAULT_LIMIT
    if limit < 1:
        raise invalid("limit must be at least 1")
    return bounded("limit", limit)


def put_scored(target: Any, rows: Iterable[edge.ScoredPoint]) -> None:
    """Into a message's list of scored points: in the engine's order, ties by id, numbers before UUIDs."""
    for _, tied in itertools.groupby(rows, key=lambda row: row.score):
        for row in sorted(tied, key=lambda row: (not isinstance(row.id, int), row.id)):
            point = target.add()
            point.score = row.score
            point.version = row.version
            _put_point(point, row)


def put_records(target: Any, rows: Iterable[edge.Record]) -> None:
    """Into a message's list of points."""
    for row in rows:
        _put_point(target.add(), row)


def _stage(message: points_pb2.QueryPoints | points_pb2.PrefetchQuery, schema: Schema) -> dict[str, Any]:
    """What a query and a prefetch have in common."""
    return {
        "limit": limit_of(message),
        "prefetches": [_prefetch(prefetch, schema) for prefetch in message.prefetch],
        "query": _query(message, schema),
        "filter": optional_filter(message),
        "params": _params(message.params),
        "score_threshold": message.score_threshold if message.HasField("score_threshold") else None,
    }


def _prefetch(message: points_pb2.PrefetchQuery, schema: Schema) -> edge.Prefetch:
    only(message, *STAGE)
    return edge.Prefetch(**_stage(message, schema))


def _params(message: points_pb2.SearchParams) -> edge.SearchParams | None:
    """Every search here is exact, so what trades exactness for speed has nothing to change."""
    only(message, "hnsw_ef", "exact", "idf")
    if not message.HasField("idf"):
        return None
    corpus = filter_of(message.idf.corpus) if message.idf.HasField("corpus") else None
    return edge.SearchParams(idf=edge.IdfParams(corpus=corpus))


def _query(message: points_pb2.QueryPoints | points_pb2.PrefetchQuery, schema: Schema) -> Any:
    query = message.query
    kind = query.WhichOneof("variant")
    if kind in FUSIONS and not message.prefetch:
        raise invalid("a fusion needs prefetches")
    if kind == "nearest":
        return edge.Query.Nearest(query_vector(query.nearest, message.using, schema), using=message.using)
    if kind == "fusion":
        return edge.Fusion.Dbsf() if query.fusion == points_pb2.DBSF else edge.Fusion.Rrf(k=RRF_K)
    if kind == "rrf":
        k = query.rrf.k if query.rrf.HasField("k") else RRF_K
        return edge.Fusion.Rrf(k=k, weights=list(query.rrf.weights) or None)
    raise unsupported(f"Query.{kind}" if kind else f"{message.DESCRIPTOR.name} without a query")


def _put_point(target: Any, row: Any) -> None:
    put_point_id(target.id, row.id)
    if row.payload:
        put_payload(target.payload, row.payload)
    if row.vector:
        put_vectors(target.vectors, row.vector)
