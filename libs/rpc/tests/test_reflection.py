"""Reflection lists and describes what is served."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from libs.rpc.server import Component
from libs.testing.serving import serving
from weft.gateway.v1 import identity_service_pb2_grpc


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_are_listed_and_described(version: str) -> None:
    """Without a token, under both names of the protocol: services served and reflected, with all that they import."""
    component = Component(
        [(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, Identity())],
        reflected=["weft.rag.v1.SearchService"],
    )
    async with serving(component) as served, grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )()
        await call.write(pb.ServerReflectionRequest(list_services=""))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        await call.write(pb.ServerReflectionRequest(file_containing_symbol="weft.rag.v1.SearchService"))
        files = (await call.read()).file_descriptor_response.file_descriptor_proto
        await call.write(pb.ServerReflectionRequest(file_containing_symbol="weft.rag.v1.SearchService.Search"))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto == files
        await call.write(pb.ServerReflectionRequest(file_containing_symbol="weft.rag.v1.SearchService.Find"))
        assert (await call.read()).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        call.cancel()
    assert listed >= {"weft.gateway.v1.IdentityService", "weft.rag.v1.SearchService", "grpc.health.v1.Health"}
    names = {FileDescriptorProto.FromString(file).name for file in files}
    assert names >= {"weft/rag/v1/search_service.proto", "buf/validate/validate.proto"}


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    """Is not called."""

    async def WhoAmI(self, request: Any, context: Any) -> Any:
        raise AssertionError("must not be called")
