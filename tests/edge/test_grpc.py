"""gRPC-Web and plain gRPC on the port that speaks REST."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc.aio as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import weft.client
from libs.contracts.policies import own_services
from tests.edge.conftest import COLLECTION, TENANT
from tests.edge.wire import TRAILERS, frame, frames, from_text, trailers
from weft.gateway.v1 import identity_service_pb2
from weft.rag.v1 import answer_service_pb2

WHO_AM_I = "/weft.gateway.v1.IdentityService/WhoAmI"
STREAM_ANSWER = "/weft.rag.v1.AnswerService/StreamAnswer"
BINARY = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
TEXT = {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text", "x-grpc-web": "1"}


def question() -> bytes:
    asked = answer_service_pb2.Question(collection=COLLECTION, text="When do spring tides come?")
    return frame(answer_service_pb2.StreamAnswerRequest(question=asked).SerializeToString())


def streamed(body: bytes) -> list[str | None]:
    """The events of a whole stream. Its last frame, and no other, has trailers, and they say that all is well."""
    *messages, last = list(frames(body))
    assert {flags for flags, _ in messages} == {0}
    assert (last[0], trailers(last[1])["grpc-status"]) == (TRAILERS, "0")
    return [answer_service_pb2.StreamAnswerResponse.FromString(content).WhichOneof("event") for _, content in messages]


async def test_a_unary_call_by_grpc_web(rest: httpx.AsyncClient) -> None:
    """One message, then the trailers."""
    answer = await rest.post(WHO_AM_I, content=frame(b""), headers=BINARY)
    (_, message), (flags, last) = frames(answer.content)
    assert identity_service_pb2.WhoAmIResponse.FromString(message).tenant == TENANT
    assert (flags, trailers(last)["grpc-status"]) == (TRAILERS, "0")


async def test_a_stream_by_grpc_web(rest: httpx.AsyncClient, collection: str) -> None:
    """Binary, to the last event and the trailers."""
    answer = await rest.post(STREAM_ANSWER, content=question(), headers=BINARY)
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    told = streamed(answer.content)
    assert (told[0], told[-1]) == ("passages", "done")


async def test_a_stream_by_grpc_web_text(rest: httpx.AsyncClient, collection: str) -> None:
    """The same in base64, both ways."""
    answer = await rest.post(STREAM_ANSWER, content=base64.b64encode(question()), headers=TEXT)
    assert answer.headers["content-type"].startswith("application/grpc-web-text")
    told = streamed(from_text(answer.text))
    assert (told[0], told[-1]) == ("passages", "done")


async def test_an_error_by_grpc_web(rest: httpx.AsyncClient) -> None:
    """It is gRPC's: status and details in headers, as the answer has nothing else."""
    answer = await rest.post(WHO_AM_I, content=frame(b""), headers={**BINARY, "authorization": "Bearer nonsense"})
    assert answer.headers["grpc-status"] == "16"
    assert answer.headers["grpc-status-details-bin"]
    assert not answer.content


async def test_plain_grpc(entry: str, token: str) -> None:
    """Weft's methods, health, reflection and the Open Inference Protocol pass as they come."""
    async with weft.client.connect(entry, token=token) as client:
        said = await client.identity.WhoAmI(identity_service_pb2.WhoAmIRequest())
        assert said.tenant == TENANT
    async with grpc.aio.insecure_channel(entry) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = [answer async for answer in reflection.ServerReflectionInfo(iter([asked]))]
        names = {service.name for service in listed[0].list_services_response.service}
        assert {service.full_name for service in own_services()} <= names
    async with triton.InferenceServerClient(entry) as server:
        assert await server.is_server_ready(headers={"authorization": f"Bearer {token}"})


async def test_an_unknown_method_by_grpc(entry: str) -> None:
    """It is the gateway that says so, not the edge: with its reason."""
    async with grpc.aio.insecure_channel(entry) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            call: Any = channel.unary_unary("/no.such.Service/Method")
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert b"METHOD_UNKNOWN" in dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
