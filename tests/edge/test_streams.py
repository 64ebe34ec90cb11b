"""Streams as server-sent events: each event in its turn, the last one included; who leaves stops the model."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from typing import Any

import httpx
import pytest
import tritonclient.grpc.aio as triton

import weft.client
from libs.testing.eventually import eventually
from libs.testing.parts import CancelledGeneration, cancelled_generations_in
from tests.conftest import RunningStack
from tests.edge.conftest import COLLECTION
from tests.edge.wire import events, kind
from weft.rag.v1 import answer_service_pb2

QUESTION = "When do spring tides come?"
SENTENCES = 256  # the model looks at no more of a prompt
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
    assert set(kinds[:-2]) <= {"delta"}
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

    def noticed() -> list[CancelledGeneration]:
        return cancelled_generations_in(stack.stack.log("triton").read_text(errors="replace"))

    await _collection_of_sentences(rest, "left")
    seen = len(noticed())
    question = {"text": "What follows 40 in left, and comes before 42?", "topK": 20}
    async with rest.stream("POST", "/v1/collections/left:streamAnswer", json=question) as answer:
        first = await anext(answer.aiter_lines())
        assert len(json.loads(first.removeprefix("data: "))["passages"]["passages"]) > 10
        asked = await _texts_embedded(stack)
        await eventually(lambda: _more_texts_embedded(stack, asked), NOTICED_WITHIN_S)
    (cancelled,) = await eventually(lambda: noticed()[seen:], NOTICED_WITHIN_S)
    assert cancelled.streamed_tokens < 512


async def _texts_embedded(stack: RunningStack) -> int:
    """So many texts the embed model has read, for the model that answers and for all others."""
    async with triton.InferenceServerClient(stack.stack.address("triton")) as direct:
        statistics = await direct.get_inference_statistics("embed")
    return int(statistics.model_stats[0].inference_count)


async def _more_texts_embedded(stack: RunningStack, than: int) -> bool:
    return await _texts_embedded(stack) > than


async def _collection_of_sentences(rest: httpx.AsyncClient, name: str) -> None:
    """As many short ones as the model looks at: it takes its time over them."""
    lines = "\n".join(f"In {name} {at} follows {at - 1}, and comes before {at + 1}." for at in range(SENTENCES))
    assert (await rest.post("/v1/collections", json={"collection": name})).status_code == 200
    body = {"mediaType": "MEDIA_TYPE_PLAIN", "content": base64.b64encode(lines.encode()).decode()}
    assert (await rest.put(f"/v1/collections/{name}/documents/numbers", json=body)).status_code == 200
