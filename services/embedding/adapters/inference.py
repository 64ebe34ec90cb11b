"""The embedding models behind the inference service, over the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.contracts import headers
from libs.contracts.health_names import model_health
from libs.contracts.open_inference import open_inference_pb2
from libs.errors.errors import Reason, ServiceError, UnavailableError
from libs.rpc.status import RETRY_AFTER_S, service_error_of, to_service_error
from services.embedding.adapters.tensors import embeddings_of, request_of
from services.embedding.domain.embeddings import Embedding, EmbedModel, model_not_found, model_unavailable
from weft.inference.v1 import model_service_pb2, model_service_pb2_grpc

pb: Any = open_inference_pb2()

DEPENDENCY = "inference"
DESCRIPTION_AGE_S = 10.0
MAX_DESCRIPTIONS = 64
HEALTH_WITHIN_S = 1.5
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _Known:
    """A description, and when it was learnt."""

    model: EmbedModel
    learnt_s: float


class InferenceModels:
    """EmbedModels. A description is at most DESCRIPTION_AGE_S old; vectors are always those of the version it names,
    because calls ask for that version."""

    def __init__(self, channel: grpc.aio.Channel, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._known: dict[str, _Known] = {}
        self._get_model: Any = model_service_pb2_grpc.ModelServiceStub(channel).GetModel
        self._config = _method(channel, "ModelConfig")
        self._infer = _method(channel, "ModelInfer")
        health: Any = health_pb2_grpc.HealthStub(channel)
        self._health = health.Check

    async def describe(self, name: str) -> EmbedModel:
        """See the port."""
        known = self._known.get(name)
        if known is None or self._now_s() > known.learnt_s + DESCRIPTION_AGE_S:
            try:
                known = _Known(await self._learn(name), self._now_s())
            except grpc.aio.AioRpcError as error:
                raise self._failure(error, name) from error
            if len(self._known) >= MAX_DESCRIPTIONS:
                self._known.clear()
            self._known[name] = known
        return known.model

    async def embed(self, model: EmbedModel, texts: Sequence[str]) -> list[Embedding]:
        """See the port."""
        try:
            response = await self._infer(request_of(model, texts))
        except grpc.aio.AioRpcError as error:
            raise self._failure(error, model.name) from error
        return embeddings_of(response, len(texts))

    async def check(self, name: str) -> None:
        """Raises UnavailableError while the inference service does not say of a model that it answers."""
        try:
            request = health_pb2.HealthCheckRequest(service=model_health(name))
            answer = await self._health(request, timeout=HEALTH_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                what = f"{DEPENDENCY} does not watch the model {name}: add it to WEFT_INFERENCE_WATCHED_MODELS"
                raise _unavailable(what) from error
            raise _unavailable(f"{DEPENDENCY} does not answer ({error.code().name})") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise _unavailable(f"the model {name} does not answer")

    async def _learn(self, name: str) -> EmbedModel:
        model = (await self._get_model(model_service_pb2.GetModelRequest(model=name))).model
        if model.state != model_service_pb2.MODEL_STATE_READY:
            raise model_unavailable(name, "it is not loaded")
        if model.kind != model_service_pb2.MODEL_KIND_EMBED:
            raise model_not_found(name, "it makes no embeddings")
        config = (await self._config(pb.ModelConfigRequest(name=name, version=model.version))).config
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        return EmbedModel(
            name=name,
            served_version=model.version,
            description=model.description or name,
            version=parameters.get("model_version") or model.version,
            max_tokens=int(parameters.get("max_tokens", _DEFAULT_MAX_TOKENS)),
            batch_texts=max(config.max_batch_size, 1),
        )

    def _failure(self, error: grpc.aio.AioRpcError, name: str) -> ServiceError:
        """What a failed call means. The inference service passes some failures on in the words of its server."""
        own = service_error_of(error)
        if own is not None:
            return own
        relayed = any(key == headers.REQUEST_ID for key, _ in error.trailing_metadata() or ())
        if relayed and error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
            self._known.pop(name, None)
            return model_unavailable(name, "it is not loaded, or another version of it is")
        return to_service_error(error, DEPENDENCY)


def _method(channel: grpc.aio.Channel, name: str) -> Any:
    return channel.unary_unary(
        f"/inference.GRPCInferenceService/{name}",
        request_serializer=getattr(pb, f"{name}Request").SerializeToString,
        response_deserializer=getattr(pb, f"{name}Response").FromString,
    )


def _unavailable(what: str) -> UnavailableError:
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE, what, metadata={"dependency": DEPENDENCY}, retry_after_s=RETRY_AFTER_S
    )
