"""The OpenAPI description: served to anybody, valid, and true of what is answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from libs.contracts.openapi import openapi_json
from libs.contracts.policies import own_services
from tests.edge.wire import events

TRUE_OF: dict[tuple[str, str], Any] = {
    ("get", "/v1/whoami"): {},
    ("get", "/v1/collections"): {},
    ("get", "/v1/collections/{collection}"): {},
    ("get", "/v1/collections/{collection}/documents"): {},
    ("get", "/v1/collections/{collection}/documents/{document_id}"): {},
    ("post", "/v1/collections/{collection}:search"): {"query": "spring tides", "topK": 3},
    ("post", "/v1/collections/{collection}:answer"): {"text": "When do spring tides come?"},
    ("post", "/v1/collections/{collection}:streamAnswer"): {"text": "When do spring tides come?"},
    ("post", "/v1:embed"): {"texts": ["spring tides"]},
    ("post", "/v1:generate"): {"messages": [{"role": "CHAT_ROLE_USER", "content": "Say something."}]},
    ("get", "/v1/models"): {},
    ("get", "/v1/usage:query"): {},
    ("get", "/v1/budgets"): {},
    ("get", "/v1/keys"): {},
    ("get", "/v1/settings"): {},
}
"""Calls, and their bodies."""
FALSE = {
    "/v1/collections/{collection}:search": {"query": "", "topK": 3},
    "/v1/collections/{collection}:answer": {"text": "x", "topK": 21},
    "/v1:embed": {"texts": []},
    "/v1:generate": {"messages": [{"role": "CHAT_ROLE_UNSPECIFIED", "content": "x"}]},
    "/v1/collections": {"collection": "a/b"},
}
"""Bodies that are refused."""


@pytest.fixture(scope="module")
async def description(stranger: httpx.AsyncClient) -> Any:
    """As anybody gets it."""
    answer = await stranger.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == openapi_json()
    return answer.json()


async def test_it_is_valid(description: Any) -> None:
    """OpenAPI 3.1; every method of Weft's own has its operation."""
    validate(description)
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    assert sorted(operation["operationId"] for operation in operations) == sorted(
        method.name for service in own_services() for method in service.methods
    )


@pytest.mark.parametrize(("verb", "path"), TRUE_OF)
async def test_it_is_true(rest: httpx.AsyncClient, collection: str, description: Any, verb: str, path: str) -> None:
    """The call that it describes is answered, and body and answer are what it says; of a stream, every event."""
    body = TRUE_OF[verb, path]
    operation = description["paths"][path][verb]
    if body:
        schema(description, operation["requestBody"]).validate(body)
    filled = path.format(collection=collection.rpartition("/")[2], document_id="tides.md")
    answer = await rest.request(verb, filled, json=body or None)
    assert answer.status_code == 200, answer.text
    described = schema(description, operation["responses"]["200"])
    for message in events(answer.text) if "text/event-stream" in answer.headers["content-type"] else [answer.json()]:
        described.validate(message)


@pytest.mark.parametrize("path", FALSE)
async def test_what_it_refuses_is_refused(
    rest: httpx.AsyncClient, collection: str, description: Any, path: str
) -> None:
    """Bounds are the services' own; the error is as described."""
    operation = description["paths"][path]["post"]
    assert not schema(description, operation["requestBody"]).is_valid(FALSE[path])
    answer = await rest.post(path.format(collection=collection.rpartition("/")[2]), json=FALSE[path])
    assert answer.status_code == 400
    schema(description, description["components"]["responses"]["Error"]).validate(answer.json())


def schema(description: Any, described: Any) -> OAS31Validator:
    """That of the one kind of content of a body or an answer."""
    (content,) = described["content"].values()
    return OAS31Validator({**content["schema"], "components": description["components"]})
