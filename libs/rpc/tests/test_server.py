"""What every method gets from the server, seen by a generated client over a real connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.errors import errors
from libs.errors.errors import FieldViolation, Reason
from libs.rpc.call import current_call, remaining_s
from libs.rpc.guard import SignedContextGuard
from libs.rpc.status import service_error_of, status_of
from libs.rpc.tests.lab import (
    QUERY,
    QUESTION,
    SEARCH,
    answering,
    failure,
    no_numbers,
    nothing,
    raising,
    raw,
    refusal,
    searching,
)
from libs.testing.logged import logged
from libs.testing.serving import KEY, calling, raw_unary, serving
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import answer_service_pb2_grpc, search_service_pb2_grpc
from weft.rag.v1 import search_service_pb2 as search


async def test_a_call_knows_whose_it_is() -> None:
    """Under a servicer's method, current_call() is the signed context and remaining_s() the least of the deadlines."""
    seen: list[tuple[CallContext, float]] = []

    async def look() -> None:
        seen.append((current_call(), remaining_s()))

    async with serving(searching(look)) as served, calling(served, "acme", timeout_s=7, request_id="r-1") as channel:
        await search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY)
    context, left_s = seen[0]
    assert (context.tenant, context.principal, context.request_id) == ("acme", "alice", "r-1")
    assert 0 < left_s <= 7


async def test_every_answer_carries_the_request_id() -> None:
    """A good answer has x-request-id in its headers, from an inner service in its trailers; a bad one in its trailers,
    before the context is known as well."""
    outer = searching(nothing, guard=SignedContextGuard(KEY))
    async with serving(outer) as served, calling(served, request_id="r-1") as channel:
        call = search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY)
        await call
        assert (await call.initial_metadata())[headers.REQUEST_ID] == "r-1"
    async with serving(searching(nothing)) as served:
        async with calling(served, request_id="r-1") as channel:
            call = search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY)
            await call
            assert (await call.trailing_metadata())[headers.REQUEST_ID] == "r-1"
            error = await failure(search_service_pb2_grpc.SearchServiceStub(channel).Search(search.SearchRequest()))
            assert error.trailing_metadata()[headers.REQUEST_ID] == "r-1"
        error = await failure(raw(served, SEARCH, metadata=((headers.REQUEST_ID, "mine"),)))
        assert error.trailing_metadata()[headers.REQUEST_ID] == "mine"
        error = await failure(raw(served, SEARCH, metadata=((headers.REQUEST_ID, "not mine"),)))
        assert error.trailing_metadata()[headers.REQUEST_ID] not in ("", "not mine")


async def test_errors_can_be_retried() -> None:
    """An error has no response headers: a gRPC client never retries a call whose headers have come."""
    failing = searching(raising(errors.UnavailableError(Reason.OVERLOADED, "no")))
    async with serving(failing) as served, calling(served) as channel:
        call = search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY)
        await failure(call)
        assert list(await call.initial_metadata()) == []


@pytest.mark.parametrize("context", ["none", "garbage", "another key", "out of date"])
async def test_no_call_without_a_signed_context(context: str) -> None:
    """A call whose context is missing, not ours, or too old is UNAUTHENTICATED, CONTEXT_REFUSED."""
    mine = CallContext("acme", "alice", "c", "r", "normal", time.time() + (-60 if context == "out of date" else 60))
    sealed = {"garbage": b"\x01garbage", "another key": seal(mine, b"k" * 32)}.get(context, seal(mine, KEY))
    metadata = () if context == "none" else ((headers.CONTEXT, sealed),)
    async with serving(searching(nothing)) as served:
        error = await failure(raw(served, SEARCH, QUERY.SerializeToString(), metadata))
    told = service_error_of(error)
    assert (error.code(), told and told.reason) == (grpc.StatusCode.UNAUTHENTICATED, Reason.CONTEXT_REFUSED)


async def test_a_malformed_body_is_told_apart() -> None:
    """Bytes that are not the request's type are INVALID_ARGUMENT, MESSAGE_MALFORMED with the type's name."""
    async with serving(searching(nothing)) as served, calling(served) as channel:
        error = await failure(raw_unary(channel, SEARCH)(b"\xff\xff"))
    told = service_error_of(error)
    assert told is not None
    assert (error.code(), told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MESSAGE_MALFORMED)
    assert told.metadata == {"message": "weft.rag.v1.SearchRequest"}


async def test_a_field_out_of_bounds_is_named() -> None:
    """A request that breaks its contract's rules is FIELD_INVALID, with a violation for each field."""
    code, told = await refusal(searching(nothing), search.SearchRequest(collection="../x", query="a" * 10_000))
    assert (code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.FIELD_INVALID)
    assert {violation.field for violation in told.violations} == {"collection", "query"}


async def test_patterns_are_told_in_words() -> None:
    """Whoever breaks a contract's pattern reads what is wanted, not a regular expression."""
    _, told = await refusal(searching(nothing), search.SearchRequest(collection="a b", query=" ", top_k=101))
    assert [(violation.field, violation.description) for violation in told.violations] == [
        ("collection", "must be letters and digits, with single dots, and hyphens and underscores, between"),
        ("query", "must have more than white space"),
        ("top_k", "must be greater than or equal to 0 and less than or equal to 100"),
    ]


async def test_nested_and_repeated_fields_are_named_by_their_path() -> None:
    """A violation's field is a path, with places in lists."""
    history: Any = [{"role": 2, "content": "a"}, {"content": "b"}]
    question = answers.Question(collection="guides", text="how", history=history)
    async with serving(answering(no_numbers)) as served, calling(served) as channel:
        call = answer_service_pb2_grpc.AnswerServiceStub(channel).StreamAnswer(
            answers.StreamAnswerRequest(question=question)
        )
        told = service_error_of(await failure(call.read()))
    assert told is not None
    assert [violation.field for violation in told.violations] == ["question.history[1].role"]


async def test_an_oversized_message_is_told_its_limit() -> None:
    """A message over the limit is RESOURCE_EXHAUSTED, MESSAGE_TOO_LARGE with limit_bytes."""
    async with serving(searching(nothing, max_message_bytes=1000)) as served, calling(served) as channel:
        error = await failure(raw_unary(channel, SEARCH)(b"x" * 1001))
    told = service_error_of(error)
    assert told is not None
    assert (error.code(), told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.MESSAGE_TOO_LARGE)
    assert told.metadata == {"limit_bytes": "1000"}


@pytest.mark.parametrize("path", ["/weft.rag.v1.SearchService/Find", "/x/y", "/weft.rag.v1.AnswerService/Answer"])
async def test_unknown_methods_are_unimplemented(path: str) -> None:
    """What is not served here is UNIMPLEMENTED, METHOD_UNKNOWN, with the method's path, no context needed."""
    async with serving(searching(nothing)) as served:
        error = await failure(raw(served, path))
    told = service_error_of(error)
    assert told is not None
    assert (error.code(), told.reason) == (grpc.StatusCode.UNIMPLEMENTED, Reason.METHOD_UNKNOWN)
    assert told.metadata == {"method": path}


async def test_a_method_that_is_not_written_is_unimplemented() -> None:
    """A method that a servicer leaves as generated is METHOD_UNKNOWN."""
    async with serving(answering(no_numbers)) as served, calling(served) as channel:
        error = await failure(
            answer_service_pb2_grpc.AnswerServiceStub(channel).Answer(answers.AnswerRequest(question=QUESTION.question))
        )
    told = service_error_of(error)
    assert (error.code(), told and told.reason) == (grpc.StatusCode.UNIMPLEMENTED, Reason.METHOD_UNKNOWN)


async def test_a_service_error_arrives_whole() -> None:
    """Kind, reason, message, metadata, violations and retry delay of a ServiceError reach the caller."""
    error = errors.ResourceExhaustedError(
        Reason.QUOTA_EXCEEDED,
        "too many",
        metadata={"limit": "3"},
        violations=[FieldViolation("query", "shorter")],
        retry_after_s=1.5,
    )
    code, told = await refusal(searching(raising(error)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert vars(told) == vars(error)


async def test_a_retry_delay_is_told_to_grpc_too() -> None:
    """An error with a retry delay has RetryInfo, and the trailer that a retrying gRPC client obeys."""
    failing = searching(raising(errors.UnavailableError(Reason.OVERLOADED, "busy", retry_after_s=0.25)))
    async with serving(failing) as served, calling(served) as channel:
        error = await failure(search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY))
    assert error.trailing_metadata()[headers.RETRY_PUSHBACK] == "250"


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), grpc.RpcError("secret"), ExceptionGroup("secret", [ValueError("secret")])]
)
async def test_an_unknown_error_says_nothing(error: Exception) -> None:
    """Any other exception is INTERNAL "internal error" with one ErrorInfo, and nothing of its text."""
    code, told = await refusal(searching(raising(error)))
    assert (code, told.reason, told.message) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL, "internal error")


async def test_an_unknown_error_is_logged() -> None:
    """The cause of an internal error is in the log, with the call's ids."""
    with logged() as lines:
        failing = searching(raising(RuntimeError("the cause")))
        async with serving(failing) as served, calling(served, "acme", request_id="r-1") as channel:
            await failure(search_service_pb2_grpc.SearchServiceStub(channel).Search(QUERY))
        (line,) = [line for line in lines() if line["event"] == "internal error"]
    assert "RuntimeError: the cause" in line["traceback"]
    assert (line["tenant"], line["request_id"], line["method"]) == ("acme", "r-1", SEARCH)


async def test_a_group_is_its_service_error() -> None:
    """A ServiceError in a group of concurrent failures is what the caller is told."""
    inner = errors.NotFoundError(Reason.COLLECTION_NOT_FOUND, "gone", metadata={"collection": "x"})
    group = ExceptionGroup("two", [ValueError("a"), ExceptionGroup("one", [inner])])
    code, told = await refusal(searching(raising(group)))
    assert (code, told.reason) == (grpc.StatusCode.NOT_FOUND, Reason.COLLECTION_NOT_FOUND)


async def test_the_status_has_one_error_info() -> None:
    """The details have exactly one ErrorInfo, of the domain "weft"."""
    async with serving(searching(nothing)) as served:
        status = status_of((await failure(raw(served, SEARCH))).trailing_metadata())
    assert status is not None
    assert [detail.TypeName() for detail in status.details] == ["google.rpc.ErrorInfo"]


async def test_too_many_calls_are_refused() -> None:
    """Over max_calls a call is OVERLOADED with a retry delay; after they end, calls run again."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        begun.set()
        await release.wait()

    async with serving(searching(stay, max_calls=1)) as served, calling(served) as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        first = stub.Search(QUERY)
        await begun.wait()
        told = service_error_of(await failure(stub.Search(QUERY)))
        assert told is not None and (told.reason, told.retry_after_s) == (Reason.OVERLOADED, 1.0)
        release.set()
        await first
        await stub.Search(QUERY)
