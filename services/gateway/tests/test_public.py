"""What the gateway tells anybody: which services there are, and whether they serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as reflection_pb

from libs.contracts import headers
from libs.contracts.policies import methods
from libs.testing.eventually import eventually
from services.gateway.tests.world import Gateway, failure_of

REFLECTIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]


async def reflect(
    gateway: Gateway, service: str, requests: Sequence[reflection_pb.ServerReflectionRequest]
) -> list[reflection_pb.ServerReflectionResponse]:
    call: Any = gateway.channel.stream_stream(f"/{service}/ServerReflectionInfo")(
        iter([request.SerializeToString() for request in requests])
    )
    return [reflection_pb.ServerReflectionResponse.FromString(body) async for body in call]


@pytest.mark.parametrize("reflection", REFLECTIONS)
async def test_reflection_lists_every_service(gateway: Gateway, reflection: str) -> None:
    """Without a token, every service of every contract is listed but reflection itself, forwarded ones too."""
    request = reflection_pb.ServerReflectionRequest(list_services="")
    (response,) = await reflect(gateway, reflection, [request])
    listed = {service.name for service in response.list_services_response.service}
    assert listed - set(REFLECTIONS) == {method.service for method in methods().values()} - set(REFLECTIONS)


@pytest.mark.parametrize("reflection", REFLECTIONS)
async def test_reflection_describes_every_method(gateway: Gateway, reflection: str) -> None:
    """Each listed service can be described, foreign ones too, down to every method that has a policy."""
    services = sorted({method.service for method in methods().values()} - set(REFLECTIONS[:1]))
    requests = [reflection_pb.ServerReflectionRequest(file_containing_symbol=service) for service in services]
    responses = await reflect(gateway, reflection, requests)
    described = set()
    for response in responses:
        for data in response.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            for service in file.service:
                described |= {f"/{file.package}.{service.name}/{method.name}" for method in service.method}
    assert described >= {method.path for method in methods().values() if method.service in services}


async def test_the_gateway_itself_is_healthy_without_a_token(gateway: Gateway) -> None:
    """The empty name is this process, whatever is behind it; the answer has a request id like any other."""
    call = health_pb2_grpc.HealthStub(gateway.channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
    assert (await call).status == health_pb2.HealthCheckResponse.SERVING
    assert dict(await call.initial_metadata())[headers.REQUEST_ID]


async def test_a_forwarded_service_is_as_healthy_as_what_serves_it(gateway: Gateway) -> None:
    """Embedding is there and serves; rag is not there and does not; a service that nobody knows is NOT_FOUND."""
    stub: Any = health_pb2_grpc.HealthStub(gateway.channel)

    async def status_of(service: str) -> int:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

    async def follows() -> bool:
        return await status_of("weft.embedding.v1.EmbeddingService") == serving

    condition: Any = follows
    await eventually(condition)
    assert await status_of("weft.rag.v1.SearchService") == not_serving
    assert await status_of("weft.gateway.v1.IdentityService") == serving
    failure = await failure_of(stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service")))
    assert failure.code == "NOT_FOUND"
