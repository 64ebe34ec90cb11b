"""The inference server's methods, and what its failures mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from libs.contracts.open_inference import open_inference_pb2
from libs.errors.errors import InvalidArgumentError, Reason, ServiceError, UnavailableError, invalid_field
from libs.rpc.call import deadline_passed, running_scope
from libs.rpc.status import RETRY_AFTER_S, to_service_error
from services.inference.domain import failures
from services.inference.domain.models import model_not_found, model_unavailable

pb: Any = open_inference_pb2()

DEPENDENCY = "triton"
LONGEST_S = 10.0
_PREFIX = "/inference.GRPCInferenceService/"

T = TypeVar("T")


class InferenceServer:
    """Calls to Triton as part of the running call: they end with its deadline.

    `on_dead` is told the model whose process a failure says is dead.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.on_dead: Callable[[str], None] = lambda model: None
        self._live: Any = channel.unary_unary(f"{_PREFIX}ServerLive")
        self._methods: dict[str, Any] = {}
        self.stream_infer: Any = channel.stream_stream(
            f"{_PREFIX}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        self.stream_infer_bytes: Any = channel.stream_stream(f"{_PREFIX}ModelStreamInfer")

    async def call(self, name: str, request: Any, model: str = "", *, within_s: float = LONGEST_S) -> Any:
        """One unary method. Raises ServiceError."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._channel.unary_unary(
                f"{_PREFIX}{name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(pb, f"{name}Response").FromString,
            )
        try:
            return await method(request, timeout=timeout_s(within_s))
        except grpc.aio.AioRpcError as error:
            raise await self.failure(error, model) from error

    async def failure(self, error: grpc.aio.AioRpcError, model: str) -> ServiceError:
        """What a failed call that asked `model` means for who asked."""
        code, message = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAVAILABLE:
            if deadline_passed():
                return to_service_error(error, DEPENDENCY)
            if not await self.answers():
                return unreachable()
        told = self.told(message, model)
        if told:
            return told
        if code is grpc.StatusCode.UNAVAILABLE:
            return model_unavailable(model, message[:200])
        if code is grpc.StatusCode.INVALID_ARGUMENT and model:
            return invalid_field("prompt", f"{model} refuses it: {message[:200]}")
        return to_service_error(error, DEPENDENCY)

    def told(self, message: str, model: str) -> ServiceError | None:
        """What the words of a failure mean; None where they say nothing that is known."""
        dead = failures.dead_process(message)
        if dead is not None:
            self.on_dead(dead)
            return model_unavailable(model, "its process died, it is being loaded again")
        if failures.is_not_ready(message):
            return model_unavailable(model, "it is not loaded")
        if failures.is_unknown_model(message):
            return model_not_found(model)
        limit = failures.prompt_limit(message)
        if limit is not None:
            return InvalidArgumentError(
                Reason.PROMPT_TOO_LONG,
                f"prompt.messages: longer than the {limit} tokens that {model} takes; shorten them",
                metadata={"model": model, "limit_tokens": limit},
            )
        return None

    async def answers(self) -> bool:
        """Whether the server itself can be reached: then it was not the connection that failed."""
        try:
            await self._live(b"", timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
        return True


def unreachable() -> UnavailableError:
    """The error of a call when the inference server does not answer."""
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"{DEPENDENCY} cannot be reached right now; try again",
        metadata={"dependency": DEPENDENCY},
        retry_after_s=RETRY_AFTER_S,
    )


def timeout_s(longest_s: float | None = None) -> float | None:
    """Seconds that a call made now may take: at most `longest_s`, and what is left of the running call if one runs."""
    scope = running_scope.get(None)
    if scope is None:
        return longest_s
    remaining_s = max(0.0, scope.deadline_s - time.time())
    return remaining_s if longest_s is None else min(remaining_s, longest_s)
