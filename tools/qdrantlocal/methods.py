"""The calls that are served, by their gRPC names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from qdrant_client.grpc import collections_pb2, points_pb2, qdrant_pb2

from tools.qdrantlocal import collection_calls, point_calls
from tools.qdrantlocal.engine import Engine


@dataclass(frozen=True)
class Method:
    """`run` answers the response. `writes`: it is durable only after a commit."""

    request: type[Message]
    run: Callable[[Engine, Any], Message]
    writes: bool = False


QUERY = "/qdrant.Points/Query"
METHODS = {
    "/qdrant.Qdrant/HealthCheck": Method(qdrant_pb2.HealthCheckRequest, collection_calls.health_check),
    "/qdrant.Collections/Create": Method(collections_pb2.CreateCollection, collection_calls.create),
    "/qdrant.Collections/Get": Method(collections_pb2.GetCollectionInfoRequest, collection_calls.get),
    "/qdrant.Collections/List": Method(collections_pb2.ListCollectionsRequest, collection_calls.list_all),
    "/qdrant.Collections/Delete": Method(collections_pb2.DeleteCollection, collection_calls.delete),
    "/qdrant.Collections/CollectionExists": Method(collections_pb2.CollectionExistsRequest, collection_calls.exists),
    "/qdrant.Points/Upsert": Method(points_pb2.UpsertPoints, point_calls.upsert, writes=True),
    "/qdrant.Points/Delete": Method(points_pb2.DeletePoints, point_calls.delete, writes=True),
    "/qdrant.Points/SetPayload": Method(points_pb2.SetPayloadPoints, point_calls.set_payload, writes=True),
    "/qdrant.Points/CreateFieldIndex": Method(points_pb2.CreateFieldIndexCollection, point_calls.create_field_index),
    "/qdrant.Points/Get": Method(points_pb2.GetPoints, point_calls.get),
    "/qdrant.Points/Scroll": Method(points_pb2.ScrollPoints, point_calls.scroll),
    "/qdrant.Points/Count": Method(points_pb2.CountPoints, point_calls.count),
    QUERY: Method(points_pb2.QueryPoints, point_calls.query),
    "/qdrant.Points/QueryBatch": Method(points_pb2.QueryBatchPoints, point_calls.query_batch),
}
