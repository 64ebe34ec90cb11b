"""Whatever goes wrong is told to callers by REST as google.rpc.Status in JSON, by the services and by Envoy alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.edge.wire import failure

BAD_TOKEN = {"authorization": "Bearer nonsense"}


@dataclass(frozen=True)
class Wrong:
    """A call, and what its answer says. `text` stands in the message."""

    call: tuple[str, str]
    status: int
    code: int
    reason: str
    text: str
    sent: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[str, ...] = ()


SEARCH = ("POST", "/v1/collections/tides:search")
WRONG = {
    "no JSON": Wrong(SEARCH, 400, 3, "MESSAGE_MALFORMED", "Expected", {"content": '{"query": '}),
    "no object": Wrong(SEARCH, 400, 3, "MESSAGE_MALFORMED", "Root element must be a message", {"content": "[]"}),
    "a wrong type": Wrong(SEARCH, 400, 3, "MESSAGE_MALFORMED", '"many"', {"json": {"query": "x", "topK": "many"}}),
    "an enum that is not there": Wrong(
        ("GET", "/v1/usage:query?groupBy=SIZE"), 400, 3, "MESSAGE_MALFORMED", "weft.gateway.v1.UsageDimension"
    ),
    "an unknown query parameter": Wrong(
        ("GET", "/v1/collections?page=2"), 400, 3, "MESSAGE_MALFORMED", 'Could not find field "page"'
    ),
    "body against path": Wrong(
        ("POST", "/v1/collections/tides:answer"),
        400,
        3,
        "MESSAGE_MALFORMED",
        "conflicting",
        {"json": {"collection": "other", "text": "When?"}},
    ),
    "out of range": Wrong(
        SEARCH,
        400,
        3,
        "FIELD_INVALID",
        "top_k",
        {"json": {"query": "x", "topK": 1000}},
        violations=("top_k",),
    ),
    "nested, out of range": Wrong(
        ("POST", "/v1/collections/tides:answer"),
        400,
        3,
        "FIELD_INVALID",
        "question.text",
        {"json": {"text": " "}},
        violations=("question.text",),
    ),
    "no body": Wrong(SEARCH, 400, 3, "FIELD_INVALID", "query", violations=("query",)),
    "a bad token": Wrong(("GET", "/v1/whoami"), 401, 16, "TOKEN_MALFORMED", "", {"headers": BAD_TOKEN}),
    "a missing collection": Wrong(
        ("POST", "/v1/collections/nowhere:search"),
        404,
        5,
        "COLLECTION_NOT_FOUND",
        "'nowhere'",
        {"json": {"query": "x"}},
        {"collection": "nowhere"},
    ),
    "an unknown path": Wrong(
        ("GET", '/v1/"nothing"?a=b'),
        404,
        12,
        "METHOD_UNKNOWN",
        "nothing",
        metadata={"method": "GET /v1/%22nothing%22?a=b"},
    ),
    "a verb that a path has not": Wrong(
        ("PATCH", "/v1/keys"), 404, 12, "METHOD_UNKNOWN", "/v1/keys", metadata={"method": "PATCH /v1/keys"}
    ),
    "a method's gRPC path, by GET": Wrong(
        ("GET", "/weft.gateway.v1.IdentityService/WhoAmI"),
        404,
        12,
        "METHOD_UNKNOWN",
        "WhoAmI",
        metadata={"method": "GET /weft.gateway.v1.IdentityService/WhoAmI"},
    ),
    "more than a message may have": Wrong(
        SEARCH,
        429,
        8,
        "MESSAGE_TOO_LARGE",
        "at most 4194304 are taken",
        {"json": {"query": "x" * (5 << 20)}},
        {"limit_bytes": "4194304"},
    ),
    "more than a body may have": Wrong(
        SEARCH,
        413,
        8,
        "MESSAGE_TOO_LARGE",
        "Payload Too Large",
        {"json": {"query": "x" * (8 << 20)}},
        {"limit_bytes": "8388608"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_error_says_what_is_wrong(rest: httpx.AsyncClient, collection: str, name: str) -> None:
    """Status, gRPC status code, reason, its metadata, and the fields that are wrong; with a request id."""
    wrong = WRONG[name]
    told = failure(await rest.request(*wrong.call, **wrong.sent))
    assert (told.status, told.code, told.reason) == (wrong.status, wrong.code, wrong.reason), told
    assert (told.metadata, told.violations) == (wrong.metadata, wrong.violations)
    assert wrong.text in told.message


async def test_a_deadline_that_passes(rest: httpx.AsyncClient, collection: str) -> None:
    """Whoever sees it first tells it: Envoy, the gateway, or gRPC's own library in it, which gives no details."""
    answer = await rest.request(*SEARCH, json={"query": "x"}, headers={"grpc-timeout": "1u"})
    assert (answer.status_code, answer.json()["code"]) == (504, 4), answer.text


async def test_a_body_of_unknown_length_has_a_bound_too(rest: httpx.AsyncClient) -> None:
    """What is sent in chunks is refused when it passes 8 MiB."""

    async def in_chunks() -> AsyncIterator[bytes]:
        yield b'{"query": "'
        for _ in range(9):
            yield b"x" * (1 << 20)

    told = failure(await rest.post(SEARCH[1], content=in_chunks()))
    assert (told.status, told.reason) == (413, "MESSAGE_TOO_LARGE")


async def test_a_token_is_missed(stranger: httpx.AsyncClient) -> None:
    """The message says which header to send."""
    told = failure(await stranger.get("/v1/whoami"))
    assert (told.status, told.code, told.reason) == (401, 16, "TOKEN_MISSING")
    assert "authorization: Bearer" in told.message


async def test_unknown_fields_of_a_body_are_ignored(rest: httpx.AsyncClient, collection: str) -> None:
    """As it is documented: Envoy's transcoder has no other way."""
    answer = await rest.post(f"{collection}:search", json={"query": "spring tides", "no_such": {"a": [1]}})
    assert answer.status_code == 200
    assert answer.json()["passages"]


@pytest.mark.parametrize("path", ["/v1/whoami", "/nowhere"])
async def test_a_callers_request_id_is_on_the_answer(rest: httpx.AsyncClient, path: str) -> None:
    """Of the services, and of Envoy itself."""
    answer = await rest.get(path, headers={"x-request-id": "the-callers-own-1"})
    assert answer.headers["x-request-id"] == "the-callers-own-1"
