"""Anybody gets the description of the REST interface."""

from __future__ import annotations

import json

from libs.contracts.openapi import openapi_json
from libs.rpc.server import Component
from libs.testing.serving import calling, serving
from services.gateway.rpc.description import DescriptionServicer
from weft.gateway.v1 import description_service_pb2 as pb
from weft.gateway.v1 import description_service_pb2_grpc


async def test_the_description_is_what_is_committed() -> None:
    """Byte for byte, as JSON."""
    add = description_service_pb2_grpc.add_DescriptionServiceServicer_to_server
    component = Component(servicers=[(add, DescriptionServicer(openapi_json()))])
    async with serving(component) as served, calling(served) as channel:
        stub = description_service_pb2_grpc.DescriptionServiceStub(channel)
        described = (await stub.GetDescription(pb.GetDescriptionRequest())).description
    assert (described.content_type, described.data) == ("application/json", openapi_json())
    assert json.loads(described.data)["info"]["title"] == "Weft"
