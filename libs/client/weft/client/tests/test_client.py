"""The client against a real server."""

from __future__ import annotations

import datetime
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import weft.client
from libs.contracts import headers
from libs.contracts.policies import methods
from libs.errors import errors
from libs.errors.errors import FieldViolation, Reason
from libs.rpc.guard import Admitted, Arrival
from libs.rpc.server import Component
from libs.rpc.status import stream_error
from libs.testing.serving import Everybody, serving
from weft.gateway.v1 import identity_service_pb2 as identity
from weft.gateway.v1 import identity_service_pb2_grpc
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import answer_service_pb2_grpc, collection_service_pb2_grpc, search_service_pb2_grpc
from weft.rag.v1 import collection_service_pb2 as collections
from weft.rag.v1 import search_service_pb2 as search

QUERY = search.SearchRequest(collection="guides", query="how")
QUESTION = answers.StreamAnswerRequest(question=answers.Question(collection="guides", text="how"))


class Server(Everybody):
    """A server that keeps what it was sent, and fails as often as it is told."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []
        self.deadlines_s: list[float] = []
        self.requests: list[Any] = []
        self.failures: list[Exception] = []

    async def identify(self, arrival: Arrival) -> Admitted:
        self.metadata.append(dict(arrival.metadata))
        return await super().identify(arrival)

    async def answer(self, request: Any, context: Any, response: Any) -> Any:
        self.requests.append(request)
        self.deadlines_s.append(context.time_remaining())
        if self.failures:
            raise self.failures.pop(0)
        return response


class Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    def __init__(self, server: Server) -> None:
        self._server = server

    async def WhoAmI(self, request: Any, context: Any) -> Any:
        return await self._server.answer(request, context, identity.WhoAmIResponse(tenant="acme"))


class Search(search_service_pb2_grpc.SearchServiceServicer):
    def __init__(self, server: Server) -> None:
        self._server = server

    async def Search(self, request: Any, context: Any) -> Any:
        return await self._server.answer(request, context, search.SearchResponse())


class Collections(collection_service_pb2_grpc.CollectionServiceServicer):
    def __init__(self, server: Server) -> None:
        self._server = server

    async def CreateCollection(self, request: Any, context: Any) -> Any:
        return await self._server.answer(request, context, collections.CreateCollectionResponse())

    async def DeleteCollection(self, request: Any, context: Any) -> Any:
        return await self._server.answer(request, context, collections.DeleteCollectionResponse())


class Answers(answer_service_pb2_grpc.AnswerServiceServicer):
    def __init__(self, server: Server, told: bool = True, status: bool = True) -> None:
        self._server, self._told, self._status = server, told, status

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield answers.StreamAnswerResponse(delta=answers.AnswerDelta(text="a"))
        failure = errors.UnavailableError(Reason.MODEL_UNAVAILABLE, "gone", metadata={"model": "m"}, retry_after_s=2)
        if self._told:
            yield answers.StreamAnswerResponse(sequence=1, error=stream_error(failure))
        if self._status:
            raise failure


def component(server: Server, answering: Answers | None = None) -> Component:
    servicers: Any = [
        (identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, Identity(server)),
        (search_service_pb2_grpc.add_SearchServiceServicer_to_server, Search(server)),
        (collection_service_pb2_grpc.add_CollectionServiceServicer_to_server, Collections(server)),  # type: ignore[abstract]
        (answer_service_pb2_grpc.add_AnswerServiceServicer_to_server, answering or Answers(server)),  # type: ignore[abstract]
    ]
    return Component(servicers, guard=server)


@asynccontextmanager
async def connected(server: Server, answering: Answers | None = None) -> AsyncIterator[weft.client.Client]:
    async with (
        serving(component(server, answering)) as served,
        weft.client.connect(served.address, token="secret", priority="low") as client,
    ):
        yield client


async def test_a_call_carries_what_was_connected_with() -> None:
    """Token, priority and a request id of its own go with every call."""
    server = Server()
    async with connected(server) as client:
        assert (await client.identity.WhoAmI(identity.WhoAmIRequest())).tenant == "acme"
        await client.identity.WhoAmI(identity.WhoAmIRequest())
    first, second = server.metadata
    assert (first[headers.AUTHORIZATION], first[headers.PRIORITY]) == ("Bearer secret", "low")
    assert first[headers.REQUEST_ID] != second[headers.REQUEST_ID]


async def test_a_token_may_be_fresh_each_time() -> None:
    """A function is asked for the token at each call."""
    server, tokens = Server(), iter(["one", "two"])
    async with (
        serving(component(server)) as served,
        weft.client.connect(served.address, token=lambda: next(tokens)) as client,
    ):
        await client.search.Search(QUERY)
        await client.search.Search(QUERY)
    assert [sent[headers.AUTHORIZATION] for sent in server.metadata] == ["Bearer one", "Bearer two"]


async def test_the_contracts_deadline_is_the_default() -> None:
    """A call without a timeout has the method's default; a longer one is cut to the method's maximum."""
    server, method = Server(), methods()["/weft.rag.v1.SearchService/Search"]
    async with connected(server) as client:
        await client.search.Search(QUERY)
        await client.search.Search(QUERY, timeout=method.default_timeout_s + 10)
        await client.search.Search(QUERY, timeout=method.max_timeout_s + 1000)
    default_s, asked_s, most_s = server.deadlines_s
    assert method.default_timeout_s - 5 < default_s <= method.default_timeout_s + 1
    assert method.default_timeout_s + 5 < asked_s <= method.default_timeout_s + 11
    assert method.max_timeout_s - 5 < most_s <= method.max_timeout_s + 2


async def test_the_contracts_retries_are_made() -> None:
    """A retryable failure is tried again, as often as the contract says, and then told."""
    server = Server()
    failures = [errors.UnavailableError(Reason.OVERLOADED, f"{n}", retry_after_s=0.01) for n in range(3)]
    async with connected(server) as client:
        server.failures = list(failures[:2])
        await client.search.Search(QUERY)
        assert len(server.requests) == 3
        server.failures = list(failures)
        with pytest.raises(weft.client.CallError, match="UNAVAILABLE OVERLOADED: 2"):
            await client.search.Search(QUERY)


async def test_the_servers_word_on_when_is_kept() -> None:
    """An attempt after a failure that says when to come back is not made before."""
    server = Server()
    times_s: list[float] = []
    search_once = server.answer

    async def answer(request: Any, context: Any, response: Any) -> Any:
        times_s.append(time.monotonic())
        return await search_once(request, context, response)

    server.answer = answer  # type: ignore[method-assign]
    server.failures = [errors.UnavailableError(Reason.OVERLOADED, "later", retry_after_s=0.7)]
    async with connected(server) as client:
        await client.search.Search(QUERY)
    first_s, second_s = times_s
    assert second_s - first_s >= 0.69


async def test_retries_have_a_budget() -> None:
    """When most calls fail, a connection makes no more attempts than calls: retries are no storm."""
    server = Server()
    calls = 80
    server.failures = [errors.UnavailableError(Reason.OVERLOADED, "no", retry_after_s=0.001) for _ in range(3 * calls)]
    async with connected(server) as client:
        for _ in range(calls):
            with pytest.raises(weft.client.CallError):
                await client.search.Search(QUERY)
    assert calls < len(server.requests) < 2 * calls


async def test_what_is_not_safe_is_not_retried() -> None:
    """A method without retries in its contract is tried once."""
    server = Server()
    server.failures = [errors.UnavailableError(Reason.OVERLOADED, "no", retry_after_s=0.01)]
    async with connected(server) as client:
        with pytest.raises(weft.client.CallError):
            await client.collections.CreateCollection(collections.CreateCollectionRequest(collection="guides"))
    assert len(server.requests) == 1


async def test_a_mutation_has_one_request_id() -> None:
    """A mutation without a request_id gets one, the same for each attempt; the caller's message and own id stay."""
    server = Server()
    server.failures = [errors.UnavailableError(Reason.OVERLOADED, "no", retry_after_s=0.01)]
    request = collections.DeleteCollectionRequest(collection="guides")
    async with connected(server) as client:
        await client.collections.DeleteCollection(request)
        first, again = server.requests
        assert first.request_id == again.request_id != ""
        assert request.request_id == ""
        await client.collections.DeleteCollection(request)
        assert server.requests[2].request_id not in ("", first.request_id)
        request.request_id = "7f3c2a9e-8f5d-4f0e-9b5e-0d6c5f1f2a3b"
        await client.collections.DeleteCollection(request)
        assert server.requests[3].request_id == request.request_id


async def test_a_failure_says_all() -> None:
    """A CallError has code, reason, message, metadata, violations, retry delay and the request id."""
    server = Server()
    server.failures = [
        errors.ResourceExhaustedError(
            Reason.QUOTA_EXCEEDED,
            "too many",
            metadata={"limit": "3"},
            violations=[FieldViolation("query", "shorter")],
            retry_after_s=1.5,
        )
    ]
    async with connected(server) as client:
        with pytest.raises(weft.client.CallError) as caught:
            await client.search.Search(QUERY, metadata=((headers.REQUEST_ID, "r-1"),))
    error = caught.value
    assert (error.code, error.reason, error.message) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
        "too many",
    )
    assert error.metadata == {"limit": "3"}
    assert error.violations == (weft.client.FieldViolation("query", "shorter"),)
    assert (error.retry_after_s, error.request_id) == (1.5, "r-1")


@pytest.mark.parametrize(("told", "status"), [(True, True), (True, False), (False, True)])
async def test_a_streams_failure_is_raised_once(told: bool, status: bool) -> None:
    """A stream's messages arrive, then one CallError, whether the failure came as a message, a status or both."""
    server = Server()
    async with connected(server, Answers(server, told, status)) as client:  # type: ignore[abstract]
        texts = []
        with pytest.raises(weft.client.CallError) as caught:
            async for message in client.answers.StreamAnswer(QUESTION):
                texts.append(message.delta.text)  # noqa: PERF401
    assert texts == ["a"]
    error = caught.value
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE", "gone")
    assert (error.metadata, error.retry_after_s) == ({"model": "m"}, 2)
    assert error.request_id == server.metadata[0][headers.REQUEST_ID]


async def test_a_stream_that_is_left_is_cancelled() -> None:
    """Leaving the iteration cancels the call."""
    server = Server()
    async with connected(server) as client:
        call = client.answers.StreamAnswer(QUESTION)
        iteration = aiter(call)
        await anext(iteration)
        await iteration.aclose()  # type: ignore[attr-defined]
        assert call.cancelled()


async def test_nobody_there_is_unavailable() -> None:
    """Without a server the failure is UNAVAILABLE with the request id and no reason of Weft's."""
    async with serving(Component()) as served:
        pass
    async with weft.client.connect(served.address) as client:
        with pytest.raises(weft.client.CallError) as caught:
            await client.collections.CreateCollection(collections.CreateCollectionRequest(collection="guides"))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
    assert caught.value.request_id


def self_signed(folder: Path) -> tuple[bytes, bytes]:
    """Key and certificate of localhost, in PEM; the certificate is in `folder` too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    (folder / "ca.pem").write_bytes(certificate)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate


DAY = datetime.timedelta(days=1)


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    """With ca_file the connection is TLS, and a server that the authority did not sign is not believed."""
    server = grpc.aio.server()

    async def who(body: bytes, context: Any) -> bytes:
        return identity.WhoAmIResponse(tenant="acme").SerializeToString()

    service = grpc.method_handlers_generic_handler(
        "weft.gateway.v1.IdentityService",
        {"WhoAmI": grpc.unary_unary_rpc_method_handler(who)},
    )
    server.add_generic_rpc_handlers([service])
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([self_signed(tmp_path)]))
    await server.start()
    try:
        async with weft.client.connect(f"localhost:{port}", ca_file=tmp_path / "ca.pem") as client:
            assert (await client.identity.WhoAmI(identity.WhoAmIRequest())).tenant == "acme"
        async with weft.client.connect(f"localhost:{port}", tls=True) as client:
            with pytest.raises(weft.client.CallError, match="UNAVAILABLE"):
                await client.identity.WhoAmI(identity.WhoAmIRequest(), timeout=5)
    finally:
        await server.stop(None)


async def test_contradictions_are_told() -> None:
    """A ca_file without TLS is a ValueError; a ca_file that is not there an OSError."""
    with pytest.raises(ValueError, match="tls=False"):
        weft.client.connect(tls=False, ca_file="ca.pem")
    with pytest.raises(OSError, match=r"nowhere\.pem"):
        weft.client.connect(ca_file="nowhere.pem")
