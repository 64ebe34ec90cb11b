"""REST calls do what their gRPC methods do, with the headers of both."""

from __future__ import annotations

import base64

import httpx

from libs.contracts import headers
from tests.edge.wire import failure


async def test_answers_have_every_field(rest: httpx.AsyncClient, collection: str) -> None:
    """Zero values too; names in lowerCamelCase, enums by name, 64-bit numbers as text."""
    answer = await rest.post(f"{collection}:search", json={"query": "spring tides"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body.keys() == {"passages", "degradation", "generation", "usage"}
    assert body["degradation"] == "DEGRADATION_UNSPECIFIED"
    assert isinstance(body["generation"], str)
    (passage,) = body["passages"]
    assert (passage["documentId"], passage["position"], passage["sourceUri"]) == ("tides.md", 0, "")


async def test_both_names_of_a_field_are_taken(rest: httpx.AsyncClient, collection: str) -> None:
    """JSON's and the contract's, in bodies and in queries."""
    for name in ("topK", "top_k"):
        answer = await rest.post(f"{collection}:search", json={"query": "spring tides", name: 1})
        assert len(answer.json()["passages"]) == 1
    for name in ("pageSize", "page_size"):
        assert (await rest.get("/v1/collections", params={name: 1})).status_code == 200


async def test_the_path_holds_against_a_body(rest: httpx.AsyncClient, collection: str) -> None:
    """Under the field's JSON name; under the contract's name a contradiction is refused."""
    path, document = f"{collection}/documents/path.md", {"mediaType": "MEDIA_TYPE_MARKDOWN", "content": "eA=="}
    put = await rest.put(path, json={**document, "documentId": "body.md"})
    assert put.json()["document"]["documentId"] == "path.md"
    assert (await rest.delete(path)).status_code == 200
    told = failure(await rest.put(path, json={**document, "document_id": "body.md"}))
    assert (told.status, told.reason) == (400, "MESSAGE_MALFORMED")


async def test_headers_reach_both_sides(rest: httpx.AsyncClient, collection: str) -> None:
    """What a caller says of kept answers is heard, and what the gateway says of an answer is told."""
    path, query = f"{collection}:search", {"query": "neap tides"}
    first = await rest.post(path, json=query)
    second = await rest.post(path, json=query)
    fresh = await rest.post(path, json=query, headers={headers.CACHE_CONTROL: "no-cache"})
    told = [answer.headers[headers.CACHE] for answer in (first, second, fresh)]
    assert told == ["miss", "hit", "bypass"]
    assert headers.AGE in second.headers
    assert not [name for name in first.headers if name.startswith("weft-")]


async def test_large_answers_pass(rest: httpx.AsyncClient) -> None:
    """Vectors of as many texts as a call may have: several MiB of JSON."""
    answer = await rest.post("/v1:embed", json={"texts": [f"text {number}" for number in range(512)]})
    assert answer.status_code == 200, answer.text[:500]
    assert len(answer.content) > 2 << 20
    assert [len(embedding["values"]) for embedding in answer.json()["embeddings"]] == [384] * 512


async def test_the_bound_of_a_document_is_the_services(rest: httpx.AsyncClient, collection: str) -> None:
    """One byte more than 2 MiB, in base64, passes the edge: it is the service that refuses it, by its field."""
    body = {"mediaType": "MEDIA_TYPE_PLAIN", "content": base64.b64encode(b"x" * ((2 << 20) + 1)).decode()}
    told = failure(await rest.put(f"{collection}/documents/large.txt", json=body))
    assert (told.status, told.reason, told.violations) == (400, "FIELD_INVALID", ("content",))
