"""weft.gateway.v1.DescriptionService: describes the calls to programs that speak no gRPC."""

from __future__ import annotations

from google.api import httpbody_pb2

from libs.rpc.running import Context
from weft.gateway.v1 import description_service_pb2 as pb
from weft.gateway.v1 import description_service_pb2_grpc


class DescriptionServicer(description_service_pb2_grpc.DescriptionServiceServicer):
    """One and the same description, to anybody."""

    def __init__(self, openapi_json: bytes) -> None:
        described = httpbody_pb2.HttpBody(content_type="application/json", data=openapi_json)
        self._response = pb.GetDescriptionResponse(description=described)

    async def GetDescription(self, request: pb.GetDescriptionRequest, context: Context) -> pb.GetDescriptionResponse:
        """What was read at the start."""
        return self._response
