"""Whether a service behind the gateway says that it can serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.errors.errors import Reason, UnavailableError

_ANSWER_WITHIN_S = 1.5


def health_check(channel: grpc.aio.Channel, dependency: str, service: str) -> Callable[[], Awaitable[None]]:
    """A check that raises UnavailableError while `dependency` does not say of its `service` that it serves."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)

    async def check() -> None:
        try:
            answer = await stub.Check(request, timeout=_ANSWER_WITHIN_S)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError as error:
            raise _unavailable(dependency, f"does not answer ({error.code().name})") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise _unavailable(dependency, f"does not serve {service}")

    return check


def _unavailable(dependency: str, what: str) -> UnavailableError:
    return UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE, f"{dependency} {what}", metadata={"dependency": dependency}, retry_after_s=1.0
    )
