"""The calls of `qdrant.Points` that are served."""

import itertools
from collections.abc import Callable, Sequence

import qdrant_edge as edge
from qdrant_client.grpc import points_pb2

from tools.qdrantlocal.convert.fields import PointId, only, point_id, point_ids, put_point_id
from tools.qdrantlocal.convert.filters import filter_of, optional_filter
from tools.qdrantlocal.convert.payload import payload, payload_selector
from tools.qdrantlocal.convert.queries import limit_of, put_records, put_scored, query_request
from tools.qdrantlocal.convert.schema import field_index
from tools.qdrantlocal.convert.vectors import point_vectors, vectors_selector
from tools.qdrantlocal.engine import Engine
from tools.qdrantlocal.errors import invalid, not_found

_operation_ids = itertools.count(1)


def upsert(engine: Engine, request: points_pb2.UpsertPoints) -> points_pb2.PointsOperationResponse:
    """All points or, if one of them is invalid, none."""
    only(request, "collection_name", "wait", "points")
    collection = engine.collection(request.collection_name)
    if not request.points:
        raise invalid("Empty update request: points is empty")
    points = [
        edge.Point(point_id(point.id), point_vectors(point.vectors, collection.schema), payload(point.payload))
        for point in request.points
    ]
    collection.update(edge.UpdateOperation.upsert_points(points))
    return _done(request.wait)


def delete(engine: Engine, request: points_pb2.DeletePoints) -> points_pb2.PointsOperationResponse:
    only(request, "collection_name", "wait", "points")
    operation = _selected(
        request.points, edge.UpdateOperation.delete_points, edge.UpdateOperation.delete_points_by_filter
    )
    engine.collection(request.collection_name).update(operation)
    return _done(request.wait)


def set_payload(engine: Engine, request: points_pb2.SetPayloadPoints) -> points_pb2.PointsOperationResponse:
    """All points or, if one of them is not there, none."""
    only(request, "collection_name", "wait", "payload", "points_selector")
    collection = engine.collection(request.collection_name)
    values = payload(request.payload)
    _check_present(collection.shard, point_ids(request.points_selector.points.ids))
    operation = _selected(
        request.points_selector,
        lambda ids: edge.UpdateOperation.set_payload(ids, values, None),
        lambda condition: edge.UpdateOperation.set_payload_by_filter(condition, values, None),
    )
    collection.update(operation)
    return _done(request.wait)


def create_field_index(
    engine: Engine, request: points_pb2.CreateFieldIndexCollection
) -> points_pb2.PointsOperationResponse:
    """The index is complete and durable when this returns, also without `wait`. One that is there is left as it is."""
    index = field_index(request)
    collection = engine.collection(request.collection_name)
    if engine.entry(request.collection_name).indexes.get(request.field_name) == request:
        return _done(True)
    collection.update(edge.UpdateOperation.create_field_index(request.field_name, index))
    engine.record_index(request)
    return _done(True)


def get(engine: Engine, request: points_pb2.GetPoints) -> points_pb2.GetResponse:
    only(request, "collection_name", "ids", "with_payload", "with_vectors")
    rows = engine.collection(request.collection_name).shard.retrieve(
        point_ids(request.ids), _payload_by_default(request), vectors_selector(request.with_vectors)
    )
    response = points_pb2.GetResponse()
    put_records(response.result, rows)
    return response


def scroll(engine: Engine, request: points_pb2.ScrollPoints) -> points_pb2.ScrollResponse:
    """In the order of ids, numbers before UUIDs."""
    only(request, "collection_name", "filter", "offset", "limit", "with_payload", "with_vectors")
    rows, next_id = engine.collection(request.collection_name).shard.scroll(
        edge.ScrollRequest(
            offset=point_id(request.offset) if request.HasField("offset") else None,
            limit=limit_of(request),
            filter=optional_filter(request),
            with_payload=_payload_by_default(request),
            with_vector=vectors_selector(request.with_vectors),
        )
    )
    response = points_pb2.ScrollResponse()
    put_records(response.result, rows)
    if next_id is not None:
        put_point_id(response.next_page_offset, next_id)
    return response


def count(engine: Engine, request: points_pb2.CountPoints) -> points_pb2.CountResponse:
    """Exact, whether or not that was asked for."""
    only(request, "collection_name", "filter", "exact")
    wanted = edge.CountRequest(exact=True, filter=optional_filter(request))
    found = engine.collection(request.collection_name).shard.count(wanted)
    return points_pb2.CountResponse(result=points_pb2.CountResult(count=found))


def query(engine: Engine, request: points_pb2.QueryPoints) -> points_pb2.QueryResponse:
    return query_all(engine, request.collection_name, [request])[0]


def query_batch(engine: Engine, request: points_pb2.QueryBatchPoints) -> points_pb2.QueryBatchResponse:
    only(request, "collection_name", "query_points")
    for one in request.query_points:
        if one.collection_name not in ("", request.collection_name):
            raise invalid("all queries of a batch must be of its collection")
    responses = query_all(engine, request.collection_name, request.query_points)
    return points_pb2.QueryBatchResponse(result=[points_pb2.BatchResult(result=one.result) for one in responses])


def query_all(
    engine: Engine, collection_name: str, requests: Sequence[points_pb2.QueryPoints]
) -> list[points_pb2.QueryResponse]:
    """Several queries of one collection, which the engine runs in one pass; the answers are those of each alone."""
    collection = engine.collection(collection_name)
    queries = [query_request(request, collection.schema) for request in requests]
    rows = collection.shard.query_batch(edge.QueryBatchRequest(queries)) if queries else []
    responses = [points_pb2.QueryResponse() for _ in rows]
    for response, found in zip(responses, rows, strict=True):
        put_scored(response.result, found)
    return responses


def _done(waited: bool) -> points_pb2.PointsOperationResponse:
    """Durable before it is answered if the caller waits, else as soon as the next group of writes is committed."""
    status = points_pb2.Completed if waited else points_pb2.Acknowledged
    result = points_pb2.UpdateResult(operation_id=next(_operation_ids), status=status)
    return points_pb2.PointsOperationResponse(result=result)


def _selected(
    selector: points_pb2.PointsSelector,
    by_ids: Callable[[list[PointId]], edge.UpdateOperation],
    by_filter: Callable[[edge.Filter], edge.UpdateOperation],
) -> edge.UpdateOperation:
    kind = selector.WhichOneof("points_selector_one_of")
    if kind == "points":
        return by_ids(point_ids(selector.points.ids))
    if kind == "filter":
        return by_filter(filter_of(selector.filter))
    raise invalid("no points are selected: give ids or a filter")


def _check_present(shard: edge.EdgeShard, ids: list[PointId]) -> None:
    """The engine stops at the first missing point, in the middle of the work."""
    present = {str(row.id) for row in shard.retrieve(ids, False, False)}
    for missing in (one for one in ids if str(one) not in present):
        raise not_found(f"No point with id {missing} found")


def _payload_by_default(request: points_pb2.GetPoints | points_pb2.ScrollPoints) -> bool | edge.PayloadSelector:
    return payload_selector(request.with_payload) if request.HasField("with_payload") else True
