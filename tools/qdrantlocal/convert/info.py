"""What a collection says about itself."""

from typing import Any

from qdrant_client.grpc import collections_pb2

from tools.qdrantlocal.catalog import Entry
from tools.qdrantlocal.convert.schema import recorded_only
from tools.qdrantlocal.engine import FLUSH_AFTER_S

NO_GRAPH = collections_pb2.HnswConfigDiff(m=0, ef_construct=100, full_scan_threshold=10_000)
NO_OPTIMIZER = collections_pb2.OptimizersConfigDiff(
    deleted_threshold=0.2,
    vacuum_min_vector_number=1000,
    default_segment_number=1,
    flush_interval_sec=int(FLUSH_AFTER_S),
    deprecated_max_optimization_threads=0,
)
LOG = collections_pb2.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0)


def collection_info(entry: Entry, shard_info: Any) -> collections_pb2.CollectionInfo:
    """The engine's counts, and what the collection was made with; tuning that has no effect is a warning."""
    info = collections_pb2.CollectionInfo(
        status=collections_pb2.Green,
        optimizer_status=collections_pb2.OptimizerStatus(ok=True),
        segments_count=shard_info.segments_count,
        points_count=shard_info.points_count,
        indexed_vectors_count=shard_info.indexed_vectors_count,
        warnings=[
            collections_pb2.CollectionWarning(message=f"{name} is recorded only")
            for name in recorded_only(entry.create)
        ],
    )
    _put_config(info.config, entry.create)
    for name, index in entry.indexes.items():
        indexed = shard_info.payload_schema.get(name)
        schema = info.payload_schema[name]
        schema.data_type = index.field_type + 1  # type: ignore[assignment]  # the enum of requests, moved by one
        schema.points = indexed.points if indexed else 0
        if index.HasField("field_index_params"):
            schema.params.CopyFrom(index.field_index_params)
    return info


def _put_config(config: collections_pb2.CollectionConfig, create: collections_pb2.CreateCollection) -> None:
    params = config.params
    params.shard_number = create.shard_number or 1
    params.replication_factor = create.replication_factor or 1
    params.write_consistency_factor = create.write_consistency_factor or 1
    params.on_disk_payload = create.on_disk_payload
    if create.HasField("vectors_config"):
        params.vectors_config.CopyFrom(create.vectors_config)
    if create.HasField("sparse_vectors_config"):
        params.sparse_vectors_config.CopyFrom(create.sparse_vectors_config)
    config.hnsw_config.CopyFrom(NO_GRAPH)
    config.hnsw_config.MergeFrom(create.hnsw_config)
    config.optimizer_config.CopyFrom(NO_OPTIMIZER)
    config.optimizer_config.MergeFrom(create.optimizers_config)
    config.wal_config.CopyFrom(LOG)
    config.wal_config.MergeFrom(create.wal_config)
    if create.HasField("quantization_config"):
        config.quantization_config.CopyFrom(create.quantization_config)
