"""Health follows the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from libs.contracts import headers
from libs.errors.errors import Reason
from libs.rpc.gate import Gate
from libs.rpc.server import Component
from libs.rpc.status import service_error_of
from libs.rpc.tests.lab import QUERY, SEARCH, nothing, searching
from libs.testing.eventually import eventually
from libs.testing.serving import calling, raw_unary, serving

SERVICE = "weft.rag.v1.SearchService"
SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


class Dependency:
    """Something that is there or not."""

    def __init__(self) -> None:
        self.there = False

    async def check(self) -> None:
        if not self.there:
            raise ConnectionError("not there")


def asking(address: str) -> tuple[grpc.aio.Channel, Callable[[str], Any]]:
    channel = grpc.aio.insecure_channel(address)
    stub = health_pb2_grpc.HealthStub(channel)
    return channel, lambda name: stub.Check(pb.HealthCheckRequest(service=name))  # type: ignore[attr-defined]


async def test_a_service_follows_its_checks() -> None:
    """A service is NOT_SERVING while a check fails, SERVING once all pass; the process itself is SERVING throughout."""
    dependency = Dependency()
    async with serving(Component(checks={SERVICE: [dependency.check]})) as served:
        channel, check = asking(served.address)
        async with channel:
            call = check("")
            assert (await call).status == SERVING
            assert (await call.trailing_metadata())[headers.REQUEST_ID]
            assert (await check(SERVICE)).status == NOT_SERVING
            dependency.there = True
            await eventually(lambda: is_serving(check))
            dependency.there = False
            await eventually(lambda: is_not_serving(check))


async def is_serving(check: Callable[[str], Any]) -> bool:
    return bool((await check(SERVICE)).status == SERVING)


async def is_not_serving(check: Callable[[str], Any]) -> bool:
    return bool((await check(SERVICE)).status == NOT_SERVING)


async def test_watch_tells_changes() -> None:
    """Watch sends the state now and each change; SERVICE_UNKNOWN for a service that is not here."""
    dependency = Dependency()
    component = Component(checks={SERVICE: [dependency.check]})
    async with serving(component) as served, grpc.aio.insecure_channel(served.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(pb.HealthCheckRequest(service=SERVICE))  # type: ignore[attr-defined]
        assert (await call.read()).status == NOT_SERVING
        dependency.there = True
        assert (await call.read()).status == SERVING
        call.cancel()
        unknown = stub.Watch(pb.HealthCheckRequest(service="nobody"))  # type: ignore[attr-defined]
        assert (await unknown.read()).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()


async def test_callers_without_a_token_have_a_bound_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call more than the bound is OVERLOADED; calls with a context go on, and when one ends there is room again."""
    monkeypatch.setattr(Gate, "MAX_PUBLIC_CALLS", 2)
    async with serving(searching(nothing)) as served, grpc.aio.insecure_channel(served.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(pb.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(pb.HealthCheckRequest())
        refused = service_error_of(caught.value)
        assert refused is not None
        assert refused.reason is Reason.OVERLOADED
        async with calling(served) as known:
            await raw_unary(known, SEARCH)(QUERY.SerializeToString())
        watches[0].cancel()
        await eventually(lambda: is_answered(stub))
        watches[1].cancel()


async def is_answered(stub: Any) -> bool:
    try:
        return bool((await stub.Check(pb.HealthCheckRequest())).status == SERVING)
    except grpc.aio.AioRpcError:
        return False


async def test_an_unknown_service_is_not_found() -> None:
    """Check of a service that is not here is NOT_FOUND with its name."""
    async with serving(Component()) as served:
        channel, check = asking(served.address)
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check("nobody")
    told = service_error_of(caught.value)
    assert told is not None
    assert (caught.value.code(), told.reason) == (grpc.StatusCode.NOT_FOUND, Reason.SERVICE_UNKNOWN)
    assert told.metadata == {"service": "nobody"}
