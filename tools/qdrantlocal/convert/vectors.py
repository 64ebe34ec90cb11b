"""Vectors, checked against the collection before anything is written: the engine itself accepts what it should not."""

import math
from collections.abc import Sequence

import qdrant_edge as edge
from qdrant_client.grpc import points_pb2

from tools.qdrantlocal.convert.schema import SPARSE, Schema
from tools.qdrantlocal.errors import invalid, unsupported

Vector = list[float] | edge.SparseVector
NamedVectors = dict[str, list[float] | edge.SparseVector | list[list[float]]]  # the engine's type, a dict is invariant


def point_vectors(message: points_pb2.Vectors, schema: Schema) -> NamedVectors:
    """A point's vectors by name; the one without a name has the empty one."""
    kind = message.WhichOneof("vectors_options")
    if kind is None:
        return {}
    named = {"": message.vector} if kind == "vector" else message.vectors.vectors
    return {name: checked(name, _stored(vector), schema) for name, vector in named.items()}


def query_vector(message: points_pb2.VectorInput, name: str, schema: Schema) -> Vector:
    """What is looked for, checked against the vector that it is compared with."""
    kind = message.WhichOneof("variant")
    if kind == "dense":
        return checked(name, _dense(message.dense.data), schema)
    if kind == "sparse":
        return checked(name, _sparse(message.sparse), schema)
    if kind is None:
        raise invalid("the query has no vector")
    raise unsupported(f"VectorInput.{kind}")


def checked(name: str, vector: Vector, schema: Schema) -> Vector:
    """The vector, if the collection has one of this name, kind and size."""
    if name not in schema:
        raise invalid(f"Not existing vector name error: {name}")
    size = schema[name]
    if size is SPARSE:
        if not isinstance(vector, edge.SparseVector):
            raise invalid(f"Vector {name!r} must be sparse")
    elif isinstance(vector, edge.SparseVector):
        raise invalid(f"Vector {name!r} must be dense")
    elif len(vector) != size:
        raise invalid(f"Vector dimension error: expected dim: {size}, got {len(vector)}")
    return vector


def put_vectors(target: points_pb2.VectorsOutput, vectors: object) -> None:
    if isinstance(vectors, dict):
        target.vectors.SetInParent()
        for name, vector in vectors.items():
            _put_vector(target.vectors.vectors[name], vector)
    else:
        _put_vector(target.vector, vectors)


def vectors_selector(message: points_pb2.WithVectorsSelector) -> bool | list[str]:
    if message.WhichOneof("selector_options") == "include":
        return list(message.include.names)
    return message.enable


def _stored(message: points_pb2.Vector) -> Vector:
    kind = message.WhichOneof("vector")
    if kind == "dense":
        return _dense(message.dense.data)
    if kind == "sparse":
        return _sparse(message.sparse)
    raise unsupported(f"Vector.{kind or 'data'}")


def _dense(values: Sequence[float]) -> list[float]:
    vector = list(values)
    if not math.isfinite(sum(vector)):  # singles cannot overflow a sum of doubles: it is finite if all are
        raise invalid("Vector contains NaN or infinity")
    return vector


def _sparse(message: points_pb2.SparseVector) -> edge.SparseVector:
    indices, values = list(message.indices), list(message.values)
    if len(indices) != len(values):
        raise invalid("Sparse vector: indices and values differ in length")
    if len(set(indices)) != len(indices):
        raise invalid("Sparse vector: indices must be unique")
    if not math.isfinite(sum(values)):
        raise invalid("Sparse vector contains NaN or infinity")
    return edge.SparseVector(indices, values)


def _put_vector(target: points_pb2.VectorOutput, vector: object) -> None:
    if isinstance(vector, edge.SparseVector):
        target.sparse.indices.extend(vector.indices)
        target.sparse.values.extend(vector.values)
    elif isinstance(vector, list):
        target.dense.data.extend(vector)
    else:
        raise TypeError(f"the engine answered a vector of type {type(vector).__name__}")
