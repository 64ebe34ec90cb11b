"""Whether another service says that it can serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.errors.errors import Reason, UnavailableError
from libs.rpc.status import to_service_error

_ANSWER_WITHIN_S = 1.5


def health_check(channel: grpc.aio.Channel, dependency: str, service: str) -> Callable[[], Awaitable[None]]:
    """A check that raises while `dependency` does not say of its gRPC service `service` that it serves."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)

    async def check() -> None:
        try:
            answer = await stub.Check(request, timeout=_ANSWER_WITHIN_S)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError as error:
            raise to_service_error(error, dependency) from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise UnavailableError(
                Reason.DEPENDENCY_UNAVAILABLE,
                f"{dependency} does not serve {service}",
                metadata={"dependency": dependency},
            )

    return check
