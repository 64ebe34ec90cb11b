"""Collections and payload indexes: what they are made of."""

import re
from typing import Any, Final

import qdrant_edge as edge
from qdrant_client.grpc import collections_pb2, points_pb2

from tools.qdrantlocal.convert.fields import given, only
from tools.qdrantlocal.errors import invalid, unsupported

NAME = re.compile(r'[^<>:"/\\|?*\x00-\x1f]{1,255}')  # Qdrant's own rule
MAX_VECTOR_SIZE = 65_535
NO_INDEXING_KB = 1 << 40  # building a graph would stop all calls for minutes; without one every search is exact
SPARSE: Final = None
Schema = dict[str, int | None]  # a vector's size by its name; SPARSE for a sparse vector

# They say how a cluster stores and searches, not what it answers: kept, shown as warnings, and nothing else.
TUNING = (
    "hnsw_config",
    "on_disk_payload",
    "optimizers_config",
    "quantization_config",
    "replication_factor",
    "shard_number",
    "wal_config",
    "write_consistency_factor",
)
VECTOR_TUNING = ("hnsw_config", "on_disk", "quantization_config")
DISTANCES = {
    collections_pb2.Cosine: edge.Distance.Cosine,
    collections_pb2.Dot: edge.Distance.Dot,
    collections_pb2.Euclid: edge.Distance.Euclid,
    collections_pb2.Manhattan: edge.Distance.Manhattan,
}
INDEXES: dict[int, tuple[Any, str, tuple[str, ...]]] = {
    points_pb2.FieldTypeKeyword: (edge.KeywordIndexParams, "keyword_index_params", ("is_tenant",)),
    points_pb2.FieldTypeInteger: (edge.IntegerIndexParams, "integer_index_params", ("lookup", "range")),
    points_pb2.FieldTypeFloat: (edge.FloatIndexParams, "float_index_params", ()),
    points_pb2.FieldTypeBool: (edge.BoolIndexParams, "bool_index_params", ()),
    points_pb2.FieldTypeDatetime: (edge.DatetimeIndexParams, "datetime_index_params", ()),
    points_pb2.FieldTypeUuid: (edge.UuidIndexParams, "uuid_index_params", ("is_tenant",)),
}


def check_create(message: collections_pb2.CreateCollection) -> None:
    """Refuses what this server cannot make, before anything is made."""
    only(message, "collection_name", "vectors_config", "sparse_vectors_config", *TUNING)
    if not NAME.fullmatch(message.collection_name):
        raise invalid(
            f'collection name {message.collection_name!r}: 1 to 255 characters, none of <>:"/\\|?* or control'
        )
    edge_config(message)


def vector_schema(message: collections_pb2.CreateCollection) -> Schema:
    dense: Schema = {name: params.size for name, params in _dense_params(message).items()}
    return dense | dict.fromkeys(message.sparse_vectors_config.map, SPARSE)


def edge_config(message: collections_pb2.CreateCollection) -> edge.EdgeConfig:
    dense = {name: _dense_vector(params) for name, params in _dense_params(message).items()}
    sparse = {name: _sparse_vector(params) for name, params in message.sparse_vectors_config.map.items()}
    if not dense and not sparse:
        raise invalid("the collection has no vectors: set vectors_config or sparse_vectors_config")
    return edge.EdgeConfig(
        vectors=dense.get("") or dense or None,
        sparse_vectors=sparse or None,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=NO_INDEXING_KB),
    )


def recorded_only(message: collections_pb2.CreateCollection) -> list[str]:
    """The names of the fields that were kept and have no effect."""
    names = [name for name in TUNING if message.HasField(name)]  # type: ignore[arg-type]
    for vector, params in _dense_params(message).items():
        names += [f"vectors_config {vector!r} {name}" for name in VECTOR_TUNING if params.HasField(name)]  # type: ignore[arg-type]
    return names + [
        f"sparse vector {name!r} index" for name, params in _sparse_params(message) if params.HasField("index")
    ]


def field_index(message: points_pb2.CreateFieldIndexCollection) -> Any:
    only(message, "collection_name", "wait", "field_name", "field_type", "field_index_params")
    if not message.field_name:
        raise invalid("field_name is empty")
    if message.field_type not in INDEXES:
        name = points_pb2.FieldType.Name(message.field_type)
        raise unsupported(f"CreateFieldIndexCollection.field_type {name}")
    make, expected, options = INDEXES[message.field_type]
    kind = message.field_index_params.WhichOneof("index_params")
    if kind is None:
        return make()
    if kind != expected:
        raise invalid(f"field_index_params.{kind} does not fit the field type")
    params = getattr(message.field_index_params, kind)
    only(params, *options)
    return make(**given(params, *options))


def _dense_params(message: collections_pb2.CreateCollection) -> dict[str, collections_pb2.VectorParams]:
    if message.vectors_config.WhichOneof("config") == "params":
        return {"": message.vectors_config.params}
    return dict(message.vectors_config.params_map.map)


def _sparse_params(message: collections_pb2.CreateCollection) -> list[tuple[str, collections_pb2.SparseVectorParams]]:
    return list(message.sparse_vectors_config.map.items())


def _dense_vector(params: collections_pb2.VectorParams) -> edge.EdgeVectorParams:
    only(params, "size", "distance", "datatype", *VECTOR_TUNING)
    if params.datatype not in (collections_pb2.Default, collections_pb2.Float32):
        raise unsupported(f"VectorParams.datatype {collections_pb2.Datatype.Name(params.datatype)}")
    if params.distance not in DISTANCES:
        raise invalid("a vector has no distance")
    if not 1 <= params.size <= MAX_VECTOR_SIZE:
        raise invalid(f"vector size {params.size}: 1 to {MAX_VECTOR_SIZE}")
    return edge.EdgeVectorParams(size=params.size, distance=DISTANCES[params.distance])


def _sparse_vector(params: collections_pb2.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    modifier = edge.Modifier.Idf if params.modifier == collections_pb2.Idf else None
    return edge.EdgeSparseVectorParams(modifier=modifier)
