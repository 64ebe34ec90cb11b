"""The door: what a caller sends reaches the service, what that answers reaches the caller, and no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.testing.serving import KEY
from services.gateway.tests.calls import EMBED, INFER, STREAM_INFER, embed, generate
from services.gateway.tests.world import Failure, Gateway, failure_of
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.embedding.v1.embedding_service_pb2 import EmbedResponse
from weft.inference.v1 import generation_service_pb2 as generation_pb
from weft.inference.v1 import generation_service_pb2_grpc as generation_grpc


async def test_a_unary_call_goes_through(gateway: Gateway) -> None:
    """The answer is the service's, and so are the trailers; the request id of the caller is on it."""
    call = embed(gateway, "four", (headers.REQUEST_ID, "order-17"))
    assert list(EmbedResponse.FromString(await call).embeddings[0].values) == [4.0]
    assert dict(await call.initial_metadata())[headers.REQUEST_ID] == "order-17"
    assert dict(await call.trailing_metadata()) == {"x-own": "1", "own-bin": b"\x00\xff"}


async def test_the_service_is_told_for_whom_it_works(gateway: Gateway) -> None:
    """Tenant and principal are the token's, request id and priority the caller's; each call has an id of its own."""
    more = ((headers.REQUEST_ID, "order-17"), (headers.PRIORITY, "low"))
    await embed(gateway, "a", *more)
    await embed(gateway, "a", *more)
    first, second = gateway.seen.contexts
    assert (first.tenant, first.principal, first.request_id, first.priority) == ("acme", "kim", "order-17", "low")
    assert first.call_id != second.call_id


async def test_a_caller_without_a_request_id_gets_one(gateway: Gateway) -> None:
    """The id on the answer is the one that the service saw."""
    call = embed(gateway, "a")
    await call
    assert dict(await call.initial_metadata())[headers.REQUEST_ID] == gateway.seen.contexts[0].request_id


async def test_what_a_caller_claims_of_itself_is_dropped(gateway: Gateway) -> None:
    """A context of the caller's own does not pass, were it signed with the right key; nor do other headers."""
    forged = CallContext("victim", "root", "c", "r", "high", time.time() + 60)
    await embed(
        gateway,
        "a",
        (headers.CONTEXT, seal(forged, KEY)),
        (headers.CALL_PRIORITY, "urgent"),
        ("weft-tenant", "victim"),
        ("x-custom", "1"),
        (headers.MAX_TOKENS, "7"),
        (headers.CACHE_CONTROL, "no-cache"),
        (headers.TRITON_GRPC_ERROR, "true"),
    )
    (context,), (metadata,) = gateway.seen.contexts, gateway.seen.metadata
    assert (context.tenant, context.principal, context.max_output_tokens) == ("acme", "kim", 7)
    sent = {name: value for name, value in metadata.items() if name not in (headers.CONTEXT, headers.REQUEST_ID)}
    del sent["user-agent"]  # the gateway's own
    assert sent.pop(headers.CALL_PRIORITY) == context.priority
    assert sent == {headers.CACHE_CONTROL: "no-cache", headers.TRITON_GRPC_ERROR: "true"}


async def test_the_trace_goes_on(gateway: Gateway) -> None:
    """A caller's W3C trace context reaches the service."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await embed(gateway, "a", (headers.TRACE_PARENT, trace), (headers.TRACE_STATE, "a=1"))
    (metadata,) = gateway.seen.metadata
    assert (metadata[headers.TRACE_PARENT], metadata[headers.TRACE_STATE]) == (trace, "a=1")


async def test_a_services_error_comes_back_as_it_is(gateway: Gateway) -> None:
    """Code, text, reason and metadata are the service's; the request id is the caller's."""
    failure = await failure_of(embed(gateway, "missing", (headers.REQUEST_ID, "order-17")))
    assert (failure.code, failure.details) == ("NOT_FOUND", "no model m")
    assert (failure.reason, failure.metadata) == ("MODEL_NOT_FOUND", {"model": "m"})
    assert failure.trailers[headers.REQUEST_ID] == "order-17"


async def test_a_retry_delay_comes_back(gateway: Gateway) -> None:
    """When a service says when to come back, the caller is told, in the details and in the header that clients obey."""
    prompt = generation_pb.Prompt(messages=[ChatMessage(role=CHAT_ROLE_USER, content="x")])
    stub = generation_grpc.GenerationServiceStub(gateway.channel)
    failure = await failure_of(stub.Generate(generation_pb.GenerateRequest(prompt=prompt), metadata=gateway.bearer()))
    assert (failure.code, failure.reason, failure.retry_after_s) == ("RESOURCE_EXHAUSTED", "OVERLOADED", 2.5)
    assert failure.trailers[headers.RETRY_PUSHBACK] == "2500"


async def test_a_foreign_status_comes_back_as_it_is(gateway: Gateway) -> None:
    """A status without Weft's details, such as Triton's, passes with its text and its trailers, were it UNAVAILABLE."""
    failure = await failure_of(gateway.channel.unary_unary(INFER)(b"fail", metadata=gateway.bearer()))
    assert (failure.code, failure.details) == ("UNAVAILABLE", "d\u00e9tails of Triton")
    assert failure.reason == ""
    assert (failure.trailers["x-own"], failure.trailers["own-bin"]) == ("1", b"\x00\xff")
    assert headers.USED not in failure.trailers  # what services tell each other


async def test_a_services_error_comes_with_the_gateways_headers(gateway: Gateway) -> None:
    """What admission tells is on an answer of the service's that is not good as well."""
    failure = await failure_of(embed(gateway, "missing"))
    assert failure.trailers[headers.CACHE] == "miss"
    assert int(failure.trailers[headers.ADMISSION_US]) > 0


async def test_bytes_are_not_read(gateway: Gateway) -> None:
    """Of a foreign contract every body passes, also one that is no message at all, and a large one."""
    for body in (b"", b"\xff\x00\x80", bytes(range(256)) * (32 << 12)):
        assert await gateway.channel.unary_unary(INFER)(body, metadata=gateway.bearer()) == body[::-1]


async def test_a_message_that_is_too_large_is_told_the_limit(gateway: Gateway) -> None:
    """No message above 64 MiB passes, alone or in a stream, and the caller is told so."""
    body = bytes((64 << 20) + 1)
    for call in (
        gateway.channel.unary_unary(INFER)(body, metadata=gateway.bearer()),
        gateway.channel.stream_stream(STREAM_INFER)(iter([b"small", body]), metadata=gateway.bearer()),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
        assert failure.metadata == {"limit_bytes": str(64 << 20)}


async def test_a_garbage_body_is_refused_by_the_service(gateway: Gateway) -> None:
    """The service, which knows the message, says which it is not."""
    failure = await failure_of(gateway.channel.unary_unary(EMBED)(b"\xff\xff", metadata=gateway.bearer()))
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "MESSAGE_MALFORMED")
    assert failure.metadata == {"message": "weft.embedding.v1.EmbedRequest"}


async def test_a_server_stream_goes_through(gateway: Gateway) -> None:
    """All messages, in their order, under the caller's request id."""
    call = generate(gateway, "100 messages")
    sequences = [generation_pb.StreamGenerateResponse.FromString(body).sequence async for body in call]
    assert sequences == list(range(100))
    assert dict(await call.initial_metadata())[headers.REQUEST_ID] == gateway.seen.contexts[0].request_id


async def test_a_stream_that_fails_says_so_after_its_messages(gateway: Gateway) -> None:
    """Messages that came before the failure arrive; then the service's error, as it is."""
    call = generate(gateway, "3 then fail")
    for _ in range(3):
        assert await call.read() is not grpc.aio.EOF
    failure = await failure_of(call)
    assert (failure.code, failure.reason, failure.metadata) == ("NOT_FOUND", "MODEL_NOT_FOUND", {"model": "m"})


async def test_a_stream_both_ways_goes_through_message_by_message(gateway: Gateway) -> None:
    """Each answer comes while the caller's stream is open; closing it ends the call with the service's trailers."""
    call = gateway.channel.stream_stream(STREAM_INFER)(metadata=gateway.bearer())
    for number in range(20):
        await call.write(b"message %d" % number)
        assert await call.read() == (b"message %d" % number)[::-1]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert dict(await call.trailing_metadata())["x-own"] == "1"


async def test_a_refused_method_says_why(gateway: Gateway) -> None:
    """A method that its contract refuses is answered with the contract's own text and never forwarded."""
    path = "/inference.GRPCInferenceService/SystemSharedMemoryRegister"
    failure = await failure_of(gateway.channel.unary_unary(path)(b"", metadata=gateway.bearer()))
    assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "METHOD_REFUSED")
    assert failure.details == "Shared memory reaches across tenants: send tensors in the message."


@pytest.mark.parametrize(
    "path", ["/weft.embedding.v1.EmbeddingService/Nope", "/no.such.Service/Do", "nopath", "/", "//"]
)
async def test_unknown_methods_are_told_without_a_token(gateway: Gateway, path: str) -> None:
    """Whatever the path looks like, the answer is UNIMPLEMENTED with a reason."""
    failure = await failure_of(gateway.channel.unary_unary(path)(b""))
    assert (failure.code, failure.reason, failure.metadata) == ("UNIMPLEMENTED", "METHOD_UNKNOWN", {"method": path})


async def test_unknown_streams_are_told_too(gateway: Gateway) -> None:
    """A caller that would stream to a method that is not there is told at once, not when it has sent all."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    failure: Failure = await failure_of(gateway.channel.stream_stream("/no.such.Service/Do")(endless()))
    assert (failure.code, failure.reason) == ("UNIMPLEMENTED", "METHOD_UNKNOWN")
