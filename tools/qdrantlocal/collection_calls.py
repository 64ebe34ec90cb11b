"""The calls of `qdrant.Collections` that are served, and the health check of `qdrant.Qdrant`."""

from qdrant_client.grpc import collections_pb2, qdrant_pb2

from tools.qdrantlocal.convert.info import collection_info
from tools.qdrantlocal.convert.schema import check_create
from tools.qdrantlocal.engine import Engine

VERSION = "1.20.0"  # of the contracts


def create(engine: Engine, request: collections_pb2.CreateCollection) -> collections_pb2.CollectionOperationResponse:
    check_create(request)
    engine.create(request)
    return collections_pb2.CollectionOperationResponse(result=True)


def delete(engine: Engine, request: collections_pb2.DeleteCollection) -> collections_pb2.CollectionOperationResponse:
    return collections_pb2.CollectionOperationResponse(result=engine.delete(request.collection_name))


def exists(
    engine: Engine, request: collections_pb2.CollectionExistsRequest
) -> collections_pb2.CollectionExistsResponse:
    found = collections_pb2.CollectionExists(exists=request.collection_name in engine.names)
    return collections_pb2.CollectionExistsResponse(result=found)


def list_all(
    engine: Engine, request: collections_pb2.ListCollectionsRequest
) -> collections_pb2.ListCollectionsResponse:
    descriptions = [collections_pb2.CollectionDescription(name=name) for name in engine.names]
    return collections_pb2.ListCollectionsResponse(collections=descriptions)


def get(engine: Engine, request: collections_pb2.GetCollectionInfoRequest) -> collections_pb2.GetCollectionInfoResponse:
    name = request.collection_name
    info = collection_info(engine.entry(name), engine.collection(name).shard.info())
    return collections_pb2.GetCollectionInfoResponse(result=info)


def health_check(engine: Engine, request: qdrant_pb2.HealthCheckRequest) -> qdrant_pb2.HealthCheckReply:
    return qdrant_pb2.HealthCheckReply(title="local Qdrant server", version=VERSION)
