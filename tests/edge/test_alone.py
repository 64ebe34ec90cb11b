"""The edge's filters with nothing behind them, and with a service that breaks its word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from libs.contracts import headers
from libs.errors.errors import Reason, ResourceExhaustedError
from libs.rpc.status import grpc_code, to_status
from tests.edge.static_edge import patches, static_edge
from tests.edge.wire import events, failure, frame, kind
from weft.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from weft.rag.v1 import answer_service_pb2 as pb
from weft.rag.v1 import answer_service_pb2_grpc

WHO_AM_I = "/weft.gateway.v1.IdentityService/WhoAmI"


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An edge whose gateway is not there."""
    with static_edge("127.0.0.1:1", tmp_path_factory.mktemp("lonely")) as address:
        yield address


def test_only_what_is_understood_is_patched() -> None:
    """Filters in front of the router, and fields of the connection manager; at gateways."""
    kinds = [(p["applyTo"], p["patch"]["operation"], p["match"]["context"]) for p in patches()]
    assert set(kinds) == {("HTTP_FILTER", "INSERT_BEFORE", "GATEWAY"), ("NETWORK_FILTER", "MERGE", "GATEWAY")}


@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/collections/a:streamAnswer", "/openapi.json"])
async def test_a_gateway_that_is_away_is_told_in_json(lonely: str, path: str) -> None:
    """UNAVAILABLE with what is away and when to come back, in the shape of the services' errors."""
    async with httpx.AsyncClient(base_url=f"http://{lonely}", trust_env=False) as client:
        told = failure(await client.request("POST" if ":" in path else "GET", path, headers={"x-request-id": "one"}))
    assert (told.status, told.code, told.reason) == (503, 14, "DEPENDENCY_UNAVAILABLE")
    assert (told.metadata, told.retry_delay) == ({"dependency": "gateway"}, "1s")


async def test_a_gateway_that_is_away_is_told_by_grpc(lonely: str) -> None:
    """A status, and words: no JSON in them."""
    async with grpc.aio.insecure_channel(lonely) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await identity_service_pb2_grpc.IdentityServiceStub(channel).WhoAmI(identity_service_pb2.WhoAmIRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not str(caught.value.details()).startswith("{")


async def test_a_gateway_that_is_away_is_told_by_grpc_web(lonely: str) -> None:
    """The same in headers."""
    async with httpx.AsyncClient(base_url=f"http://{lonely}", trust_env=False) as client:
        kind_of_body = {"content-type": "application/grpc-web+proto"}
        answer = await client.post(WHO_AM_I, content=frame(b""), headers=kind_of_body)
    assert (answer.headers["grpc-status"], answer.content) == ("14", b"")
    assert not answer.headers["grpc-message"].startswith("{")


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[str]:
    """An edge whose gateway takes calls and never answers."""
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    async with server:
        with static_edge(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", tmp_path) as address:
            yield address
        for writer in connections:
            writer.close()


async def test_a_deadline_that_envoy_sees_first_is_told_as_one(silent: str) -> None:
    """Envoy's timer is the call's own: whether it or the caller's is faster, the status is DEADLINE_EXCEEDED."""
    # No timeout of the client's own, so that it cannot be faster.
    deadline = (("grpc-timeout", "100m"), (headers.REQUEST_ID, "one"))
    said = "upstream request timeout"
    async with grpc.aio.insecure_channel(silent) as channel:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.WhoAmI(identity_service_pb2.WhoAmIRequest(), metadata=deadline)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, said)
    async with httpx.AsyncClient(base_url=f"http://{silent}", trust_env=False) as client:
        web = {"content-type": "application/grpc-web+proto", **dict(deadline)}
        answer = await client.post(WHO_AM_I, content=frame(b""), headers=web)
        assert [answer.headers[name] for name in ("grpc-status", "grpc-message", headers.REQUEST_ID)] == [
            "4",
            said,
            "one",
        ]
        told = failure(await client.get("/v1/whoami", headers=dict(deadline)))
        assert (told.status, told.code, told.reason, told.message) == (504, 4, "DEADLINE_EXCEEDED", said)


@pytest.mark.parametrize(
    "kind_of_body", ["application/json", "application/grpcx", "application/grpc-webx", "text/plain"]
)
async def test_a_long_body_is_not_kept(lonely: str, kind_of_body: str) -> None:
    """Whatever it is said to be: all that is not gRPC is transcoded, and is held meanwhile."""
    async with httpx.AsyncClient(base_url=f"http://{lonely}", trust_env=False) as client:
        body = b'{"query": "' + b"a" * (9 << 20) + b'"}'
        path = "/v1/collections/c:search"
        answer = await client.post(path, content=body, headers={"content-type": kind_of_body})
    told = failure(answer)
    assert (told.status, told.reason, told.metadata) == (413, "MESSAGE_TOO_LARGE", {"limit_bytes": "8388608"})


@pytest.mark.parametrize("abort", [{"http_status": 503}, {"grpc_status": 14}])
async def test_a_fault_is_told_in_json(tmp_path: Path, abort: dict[str, int]) -> None:
    """A drill's abort looks like a gateway that is away, whichever kind of status it is of."""
    everybody = {"numerator": 100, "denominator": "HUNDRED"}
    with static_edge("127.0.0.1:1", tmp_path, {"abort": {**abort, "percentage": everybody}}) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            told = failure(await client.get("/v1/whoami"))
    assert (told.status, told.code, told.reason) == (503, 14, "DEPENDENCY_UNAVAILABLE")
    assert told.message == "fault filter abort"


class Breaking(answer_service_pb2_grpc.AnswerServiceServicer):
    """A stream of it fails after its first message, and does not say so; else it is overloaded."""

    async def Answer(self, request: pb.AnswerRequest, context: Any) -> pb.AnswerResponse:
        error = ResourceExhaustedError(Reason.RATE_LIMITED, "wait", metadata={"limit": "key/hour"}, retry_after_s=2.5)
        details = to_status(error).SerializeToString()
        await context.abort(
            grpc_code(error), error.message, ((headers.STATUS_DETAILS, details), (headers.REQUEST_ID, "one"))
        )
        raise AssertionError

    async def StreamAnswer(
        self, request: pb.StreamAnswerRequest, context: Any
    ) -> AsyncIterator[pb.StreamAnswerResponse]:
        yield pb.StreamAnswerResponse(delta=pb.AnswerDelta(text=request.question.collection))
        await context.abort(grpc.StatusCode.INTERNAL, "nobody will read this")


@pytest.fixture
async def breaking(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Calls an edge with `Breaking` behind it."""
    server = grpc.aio.server()
    answer_service_pb2_grpc.add_AnswerServiceServicer_to_server(Breaking(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with static_edge(f"127.0.0.1:{port}", tmp_path) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield client
    await server.stop(None)


async def test_all_details_of_an_error_can_be_read(breaking: httpx.AsyncClient) -> None:
    """Reason, metadata and when to come back are JSON too."""
    told = failure(await breaking.post("/v1/collections/tides:answer", json={"text": "x"}))
    assert (told.status, told.reason, told.metadata) == (429, "RATE_LIMITED", {"limit": "key/hour"})
    assert told.retry_delay == "2.500s"


async def test_a_stream_that_was_cut_ends_without_a_word(breaking: httpx.AsyncClient) -> None:
    """Why services tell failures in their streams: a status that comes after the first event is lost on the way."""
    answer = await breaking.post("/v1/collections/tides:streamAnswer", json={"text": "x"})
    (event,) = events(answer.text)
    assert (answer.status_code, kind(event), event["delta"]["text"]) == (200, "delta", "tides")
