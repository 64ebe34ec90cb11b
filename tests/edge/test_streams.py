"""Streams as server-sent events: each event in its turn, the last one included; who leaves stops the model."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from typing import Any

import httpx
import pytest

import weft.client
from libs.testing.eventually import eventually
from tests.conftest import RunningStack
from tests.edge.conftest import COLLECTION
from tests.edge.wire import events, kind
from tests.model_work import WatchedModel, sentences
from weft.rag.v1 import answer_service_pb2

QUESTION = "When do spring tides come?"
NOTICED_WITHIN_S = 20.0


async def test_an_answer_event_by_event(rest: httpx.AsyncClient, collection: str, entry: str, token: str) -> None:
    """Passages, deltas with citations between them, usage, done: numbered from 0, and the same as by gRPC."""
    answer = await rest.post(f"{collection}:streamAnswer", json={"text": QUESTION})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    told = events(answer.text)
    assert [int(event["sequence"]) for event in told] == list(range(len(told)))
    kinds = [kind(event) for event in told]
    assert (kinds[0], kinds[-2:]) == ("passages", ["usage", "done"])
    assert set(kinds[1:-2]) == {"delta", "citation"}
    assert told[-1]["done"] == {
        "outcome": "ANSWER_OUTCOME_ANSWERED",
        "model": "extractive-v1",
        "fallbackFor": "",
    }

    question = answer_service_pb2.Question(collection=COLLECTION, text=QUESTION)
    async with weft.client.connect(entry, token=token) as client:
        call = client.answers.StreamAnswer(answer_service_pb2.StreamAnswerRequest(question=question))
        by_grpc = [(message.sequence, message.WhichOneof("event"), message.delta.text) async for message in call]
    by_rest = [(int(e["sequence"]), kind(e), e.get("delta", {}).get("text", "")) for e in told]
    assert by_rest == by_grpc


async def test_a_generation_event_by_event(rest: httpx.AsyncClient) -> None:
    """Deltas, usage, done."""
    body = {"messages": [{"role": "CHAT_ROLE_USER", "content": "Say something."}]}
    told = events((await rest.post("/v1:streamGenerate", json=body)).text)
    kinds = [kind(event) for event in told]
    assert set(kinds[:-2]) == {"delta"}
    assert kinds[-2:] == ["usage", "done"]


async def test_an_answer_over_http2(rest: httpx.AsyncClient, collection: str, entry: str, token: str) -> None:
    """The same events: a client that speaks HTTP/2 at once is understood on the same port."""
    url, body = f"http://{entry}{collection}:streamAnswer", json.dumps({"text": QUESTION})
    command = ["curl", "-sN", "--http2-prior-knowledge", url, "-H", f"authorization: Bearer {token}", "-d", body]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    by_http1 = await rest.post(f"{collection}:streamAnswer", json={"text": QUESTION})
    assert [kind(event) for event in events(printed.decode())] == [kind(event) for event in events(by_http1.text)]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/v1/collections/nowhere:streamAnswer", {"text": QUESTION}, "ERROR_REASON_COLLECTION_NOT_FOUND"),
        (
            "/v1:streamGenerate",
            {"model": "none", "messages": [{"role": "CHAT_ROLE_USER", "content": "x"}]},
            "ERROR_REASON_MODEL_NOT_FOUND",
        ),
    ],
)
async def test_a_failure_is_the_last_event(
    rest: httpx.AsyncClient, path: str, body: dict[str, Any], reason: str
) -> None:
    """A stream that fails says why in its last event: no status can say it any more."""
    told = events((await rest.post(path, json=body)).text)
    assert kind(told[-1]) == "error"
    assert (told[-1]["error"]["code"], told[-1]["error"]["reason"]) == (5, reason)


async def test_who_may_not_call_gets_no_stream(rest: httpx.AsyncClient, collection: str) -> None:
    """What is refused before it begins has a status, and JSON."""
    refused = await rest.post(
        f"{collection}:streamAnswer", json={"text": QUESTION}, headers={"authorization": "Bearer no"}
    )
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/json")


async def test_who_leaves_in_the_middle_stops_the_model(stack: RunningStack, rest: httpx.AsyncClient) -> None:
    """The passages have come, the model is at work, the caller hangs up: the model itself notices."""
    model = WatchedModel(stack)
    await _collection_of_sentences(rest, "left")
    seen, before = len(model.cancelled()), await model.texts_embedded()
    question = {"text": "What follows 40 in left, and comes before 42?", "topK": 20}
    async with rest.stream("POST", "/v1/collections/left:streamAnswer", json=question) as answer:
        lines = answer.aiter_lines()  # to be kept: httpx hangs up when nobody holds it any more
        first = await anext(lines)
        assert len(json.loads(first.removeprefix("data: "))["passages"]["passages"]) > 10
        await eventually(lambda: model.has_begun(before), NOTICED_WITHIN_S)
    (cancelled,) = await eventually(lambda: model.cancelled()[seen:], NOTICED_WITHIN_S)
    assert cancelled.streamed_tokens == 0


async def _collection_of_sentences(rest: httpx.AsyncClient, name: str) -> None:
    """As many as the model looks at: it takes its time over them."""
    assert (await rest.post("/v1/collections", json={"collection": name})).status_code == 200
    content = base64.b64encode("\n".join(sentences(name)).encode()).decode()
    body = {"mediaType": "MEDIA_TYPE_PLAIN", "content": content}
    assert (await rest.put(f"/v1/collections/{name}/documents/numbers", json=body)).status_code == 200
