"""grpc.health.v1: the empty name is this process, a service's name follows what the service cannot work without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from libs.errors import errors
from libs.errors.errors import Reason
from libs.rpc.running import Context
from libs.telemetry import logs

Check = Callable[[], Awaitable[None]]
"""Returns when the dependency is there; raises anything when it is not."""

POLL_EVERY_S = 1.0
CHECK_WITHIN_S = 2.0
_ANSWER_WITHIN_S = 1.5

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """The health of a process and of its services. A service with checks is NOT_SERVING until they have passed once."""

    def __init__(self, services: Iterable[str], checks: Mapping[str, Sequence[Check]]) -> None:
        self._checks = checks
        self._states: dict[str, int] = {
            name: _NOT_SERVING if checks.get(name) else _SERVING for name in {*services, *checks, ""}
        }
        self._changed = asyncio.Event()
        self._stopping = False

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        """The state of one service. Raises NotFoundError for a service that is not here."""
        state = self._states.get(request.service)
        if state is None:
            raise errors.NotFoundError(
                Reason.SERVICE_UNKNOWN, "no such service here", metadata={"service": request.service[:200]}
            )
        return pb.HealthCheckResponse(status=state)

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        """The state of one service now, and again whenever it changes."""
        last = None
        while True:
            state = self._states.get(request.service, _SERVICE_UNKNOWN)
            changed = self._changed
            if state != last:
                last = state
                yield pb.HealthCheckResponse(status=state)
            else:
                await changed.wait()

    async def poll(self) -> None:
        """Runs the checks again and again; until cancelled."""
        while True:
            await self.poll_once()
            await asyncio.sleep(POLL_EVERY_S)

    async def poll_once(self) -> None:
        """Runs each check once, all together, each for at most CHECK_WITHIN_S, and sets the states by them."""
        unique = list({check for checks in self._checks.values() for check in checks})
        problems = dict(zip(unique, await asyncio.gather(*map(_problem, unique)), strict=True))
        for service, checks in self._checks.items():
            found = [problem for check in checks if (problem := problems[check])]
            self._set(service, _NOT_SERVING if found else _SERVING, "; ".join(found))

    def stop(self) -> None:
        """Everything is NOT_SERVING from here on."""
        self._stopping = True
        for service in self._states:
            self._states[service] = _NOT_SERVING
        self._wake()

    def _set(self, service: str, state: int, why: str) -> None:
        if self._stopping or self._states[service] == state:
            return
        self._states[service] = state
        logs.info("health", health_of=service, serving=state == _SERVING, why=why)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def serves(channel: grpc.aio.Channel, dependency: str, service: str) -> Check:
    """A check that raises UnavailableError while `dependency` does not say of its gRPC service `service` that it
    serves."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = pb.HealthCheckRequest(service=service)

    async def check() -> None:
        try:
            answer = await stub.Check(request, timeout=_ANSWER_WITHIN_S)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError as error:
            raise _unavailable(dependency, f"does not answer ({error.code().name})") from error
        if answer.status != _SERVING:
            raise _unavailable(dependency, f"does not serve {service}")

    return check


def _unavailable(dependency: str, what: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE, f"{dependency} {what}", metadata={"dependency": dependency}, retry_after_s=1.0
    )


async def _problem(check: Check) -> str:
    """What `check` says against serving; "" when nothing."""
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_WITHIN_S} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""
