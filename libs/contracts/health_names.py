"""Names that `grpc.health.v1` knows beside those of gRPC services."""

from __future__ import annotations


def model_health(model: str) -> str:
    """Of a model, at the inference service: SERVING while the model answers."""
    return f"inference.GRPCInferenceService/{model}"
