"""Which pages may call, as corsPolicy in mesh/edge.yaml says."""

from __future__ import annotations

import httpx
import pytest

PAGE = "http://localhost:3000"
STREAM = "/v1/collections/tides:streamAnswer"
METHODS = {
    "POST": (STREAM, "authorization,content-type,cache-control,x-request-id"),
    "PUT": ("/v1/collections/tides/documents/a", "authorization,content-type"),
    "DELETE": ("/v1/collections/tides/documents/a", "authorization"),
    "GET": ("/v1/whoami", "authorization,x-weft-priority,grpc-timeout,traceparent"),
}
GRPC_WEB = (
    "/weft.rag.v1.AnswerService/StreamAnswer",
    "authorization,content-type,x-grpc-web,x-user-agent,grpc-timeout",
)


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


async def preflight(stranger: httpx.AsyncClient, path: str, method: str, wanted: str, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": wanted,
    }
    return await stranger.options(path, headers=headers)


@pytest.mark.parametrize("method", [*METHODS, "gRPC-Web"])
async def test_a_page_of_this_machine_may_call(stranger: httpx.AsyncClient, method: str) -> None:
    """Its preflight is answered with its own origin, its method and every header that it asks for."""
    path, wanted = METHODS.get(method, GRPC_WEB)
    verb = method if method in METHODS else "POST"
    answer = await preflight(stranger, path, verb, wanted, PAGE)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert verb in answer.headers["access-control-allow-methods"]
    assert words(wanted) <= words(answer.headers["access-control-allow-headers"])
    assert answer.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null"])
async def test_no_other_page_may_call(stranger: httpx.AsyncClient, origin: str) -> None:
    """Neither its preflight nor an answer says that its page may have it."""
    refused = await preflight(stranger, STREAM, "POST", "authorization", origin)
    answer = await stranger.get("/v1/whoami", headers={"origin": origin})
    for told in (refused, answer):
        assert not [name for name in told.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("path", "status"), [("/v1/whoami", 200), ("/v1/models/none", 404), ("/nowhere", 404)])
async def test_a_page_may_read_answers_and_errors(rest: httpx.AsyncClient, path: str, status: int) -> None:
    """An answer, an error of a service and one of Envoy's own; the headers that say more too."""
    answer = await rest.get(path, headers={"origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    exposed = words(answer.headers["access-control-expose-headers"])
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "ratelimit-reset"} <= exposed
