"""rag's four services over real stores: what callers are promised."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from libs.errors.errors import Reason, UnavailableError
from libs.parts.processes import RunningPart
from libs.testing.eventually import eventually
from services.rag.adapters.index import QdrantIndex
from services.rag.adapters.terms import Bm25Terms
from services.rag.ports import Garbage, Scope
from services.rag.tests.served import Caller, Rag, caller, rag_served, reason_of
from weft.common.v1 import chat_message_pb2, error_pb2
from weft.rag.v1 import (
    answer_service_pb2,
    collection_service_pb2,
    document_service_pb2,
    passage_pb2,
)

GUIDE = "# Whales\n\nThe blue whale is the largest animal.\n\n# Eagles\n\nEagles nest on cliffs."
Event = answer_service_pb2.StreamAnswerResponse


@pytest.fixture(scope="module")
async def rag(redis_server: RunningPart, qdrant_server: RunningPart, tokenizer_file: Path) -> AsyncIterator[Rag]:
    """One for the module: each test has a tenant of its own."""
    async with rag_served(redis_server, qdrant_server, tokenizer_file) as served:
        yield served


@pytest.fixture
async def acme(rag: Rag) -> AsyncIterator[Caller]:
    """A caller with one collection, `guide`, and one document in it."""
    async with caller(rag.served) as tenant:
        await tenant.create("guide")
        await tenant.put("guide", "animals", GUIDE)
        yield tenant


def asked(text: str, **more: object) -> answer_service_pb2.StreamAnswerRequest:
    """A question to the collection."""
    question = answer_service_pb2.Question(collection="guide", text=text, **more)  # type: ignore[arg-type]
    return answer_service_pb2.StreamAnswerRequest(question=question)


async def failure(call: object) -> str:
    """Why a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason_of(caught.value)


async def test_documents_are_described_found_and_cited(acme: Caller) -> None:
    """From content to passages: text, place, headings, similarity, version."""
    document = (
        await acme.documents.GetDocument(
            document_service_pb2.GetDocumentRequest(collection="guide", document_id="animals")
        )
    ).document
    assert (document.title, document.passage_count, document.size_bytes) == ("Whales", 2, len(GUIDE))
    found = await acme.search("guide", "the largest animal")
    best = found.passages[0]
    assert best.text == "The blue whale is the largest animal."
    assert (best.document_id, best.version_id, best.position) == ("animals", document.version_id, 0)
    assert (list(best.headings), best.title) == (["Whales"], "Whales")
    assert best.HasField("similarity")
    collection = (
        await acme.collections.GetCollection(collection_service_pb2.GetCollectionRequest(collection="guide"))
    ).collection
    assert (collection.document_count, collection.generation) == (1, found.generation)
    assert found.usage.input_tokens > 0


async def test_lists_page_and_refuse_foreign_tokens(acme: Caller) -> None:
    """Pages follow each other; a token of another list, or of none, is refused."""
    for number in range(4):
        await acme.put("guide", f"d{number}", "text")
    await acme.create("other")
    lists = document_service_pb2.ListDocumentsRequest
    first = await acme.documents.ListDocuments(lists(collection="guide", page_size=3))
    token = first.next_page_token
    second = await acme.documents.ListDocuments(lists(collection="guide", page_size=3, page_token=token))
    ids = [document.document_id for page in (first, second) for document in page.documents]
    assert ids == ["animals", "d0", "d1", "d2", "d3"]
    assert second.next_page_token == ""
    for request in (
        acme.documents.ListDocuments(lists(collection="other", page_token=token)),
        acme.documents.ListDocuments(lists(collection="guide", page_token="nonsense")),
        acme.collections.ListCollections(collection_service_pb2.ListCollectionsRequest(page_token=token)),
    ):
        assert await failure(request) == "PAGE_TOKEN_INVALID"
    page = await acme.collections.ListCollections(collection_service_pb2.ListCollectionsRequest(page_size=1))
    assert [collection.name for collection in page.collections] == ["guide"]
    assert page.next_page_token


async def test_a_foreign_collection_is_a_missing_one(rag: Rag, acme: Caller) -> None:
    """Another tenant gets the same answer for it as for a name that nobody has."""
    async with caller(rag.served) as other:
        answers = set()
        for name in ("guide", "nope"):
            for call in (other.search(name, "whale"), other.put(name, "d", "x"), other.delete(name, "animals")):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                answers.add((reason_of(caught.value), str(caught.value.details()).replace(name, "NAME")))
        assert [reason for reason, _ in answers] == ["COLLECTION_NOT_FOUND"]
        question = answer_service_pb2.AnswerRequest(question=asked("whale").question)
        assert await failure(other.answers.Answer(question)) == "COLLECTION_NOT_FOUND"


async def test_writes_with_a_request_id_happen_once(acme: Caller) -> None:
    """The same request again is answered as before; another one with its id is refused."""
    request_id = str(uuid.uuid4())
    first = await acme.put("guide", "d", "text", request_id=request_id)
    await acme.put("guide", "d", "other text")
    assert await acme.put("guide", "d", "text", request_id=request_id.upper()) == first
    assert await failure(acme.put("guide", "d", "third", request_id=request_id)) == "REQUEST_ID_REUSED"
    assert await failure(acme.create("new", request_id=request_id)) == "REQUEST_ID_REUSED"


async def test_an_answer_streams_passages_deltas_citations_usage_done(rag: Rag, acme: Caller) -> None:
    """In this order, numbered from 0, with citations that name what was shown; and the whole answer says the same."""
    events: list[Event] = [event async for event in acme.answers.StreamAnswer(asked("What is the largest animal?"))]
    assert [event.sequence for event in events] == list(range(len(events)))
    kinds = [kind for kind, _ in itertools.groupby(event.WhichOneof("event") for event in events)]
    assert kinds == ["passages", "delta", "citation", "delta", "usage", "done"]
    text = "".join(event.delta.text for event in events)
    (citation,) = [event.citation for event in events if event.HasField("citation")]
    shown = events[0].passages.passages[citation.number - 1]
    assert text == "It is so [1]."
    assert text[citation.start_offset : citation.end_offset] == "[1]"
    assert (citation.document_id, citation.version_id) == (shown.document_id, shown.version_id)
    assert events[-1].done == answer_service_pb2.AnswerDone(
        outcome=answer_service_pb2.ANSWER_OUTCOME_ANSWERED, model="simple-v1"
    )
    whole = await acme.answers.Answer(
        answer_service_pb2.AnswerRequest(question=asked("What is the largest animal?").question)
    )
    assert (whole.text, list(whole.citations)) == (text, [citation])
    assert list(whole.passages) == list(events[0].passages.passages)
    assert whole.usage == events[-2].usage


async def test_what_is_not_there_is_not_found(acme: Caller) -> None:
    """No passages, no text, no model; the outcome says so."""
    events = [event async for event in acme.answers.StreamAnswer(asked("Who tuned grandfather's piano?"))]
    assert [event.WhichOneof("event") for event in events] == ["passages", "usage", "done"]
    assert not events[0].passages.passages
    assert events[-1].done.outcome == answer_service_pb2.ANSWER_OUTCOME_NOT_FOUND


async def test_a_failed_answer_says_so_in_the_stream_and_in_the_status(rag: Rag, acme: Caller) -> None:
    """The usage, then the error as last message, and the same as the call's status."""
    rag.generation.failure = UnavailableError(
        Reason.MODEL_UNAVAILABLE, "broken", metadata={"model": "m"}, retry_after_s=1.0
    )
    events: list[Event] = []
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for event in acme.answers.StreamAnswer(asked("What is the largest animal?")):
                events.append(event)  # noqa: PERF401  a comprehension would lose what came before the error
    finally:
        rag.generation.failure = None
    assert [event.WhichOneof("event") for event in events[-2:]] == ["usage", "error"]
    error = events[-1].error
    assert (error.reason, error.code) == (error_pb2.ERROR_REASON_MODEL_UNAVAILABLE, 14)
    assert (reason_of(caught.value), caught.value.code()) == ("MODEL_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)


async def test_a_caller_that_leaves_stops_the_model(rag: Rag, acme: Caller) -> None:
    """The cancel reaches the inference service."""
    rag.generation.hangs = True
    rag.generation.cancelled.clear()
    try:
        call = acme.answers.StreamAnswer(asked("What is the largest animal?"))
        async for event in call:
            if event.WhichOneof("event") == "delta":
                break
        call.cancel()
        await eventually(rag.generation.cancelled.is_set)
    finally:
        rag.generation.hangs = False


async def test_without_the_embedding_service_words_are_searched(rag: Rag, acme: Caller) -> None:
    """Search and answer go on, and say what they lack; an ingest fails and changes nothing."""
    rag.embedding.failure = UnavailableError(
        Reason.DEPENDENCY_UNAVAILABLE, "down", metadata={"dependency": "embedding"}
    )
    try:
        found = await acme.search("guide", "cliffs")
        question = answer_service_pb2.AnswerRequest(question=asked("eagles on cliffs?").question)
        answered = await acme.answers.Answer(question)
        assert await failure(acme.put("guide", "new", "text")) == "DEPENDENCY_UNAVAILABLE"
    finally:
        rag.embedding.failure = None
    assert found.degradation == passage_pb2.DEGRADATION_LEXICAL_ONLY
    assert [(passage.text, passage.HasField("similarity")) for passage in found.passages] == [
        ("Eagles nest on cliffs.", False)
    ]
    assert answered.degradation == passage_pb2.DEGRADATION_LEXICAL_ONLY
    lookup = document_service_pb2.GetDocumentRequest(collection="guide", document_id="new")
    assert await failure(acme.documents.GetDocument(lookup)) == "DOCUMENT_NOT_FOUND"


async def test_bad_questions_name_their_field(acme: Caller) -> None:
    """A system turn, a history that is too long, and a question that fits no window."""
    turn = chat_message_pb2.ChatMessage
    system = asked("whale animal?", history=[turn(role=chat_message_pb2.CHAT_ROLE_SYSTEM, content="x")])
    long = asked("whale animal?", history=[turn(role=chat_message_pb2.CHAT_ROLE_USER, content="x" * 40_000)] * 2)
    window = asked("largest animal? " * 250, max_output_tokens=4000)
    for request, reason in ((system, "FIELD_INVALID"), (long, "FIELD_INVALID"), (window, "PROMPT_TOO_LONG")):
        assert await failure(acme.answers.Answer(answer_service_pb2.AnswerRequest(question=request.question))) == reason


async def test_many_callers_at_once_are_all_answered(acme: Caller) -> None:
    """More than there are connections to the stores: they wait for each other."""
    found = await asyncio.gather(*(acme.found("guide", "the largest animal", top_k=1) for _ in range(200)))
    assert found == [["The blue whale is the largest animal."]] * 200


async def test_no_stale_passage_is_ever_found_under_load(acme: Caller) -> None:
    """Writers replace and delete without pause: no search ever finds what was gone before it began."""
    stop = asyncio.Event()
    floors: dict[str, int] = {}
    searches = 0

    async def write(document_id: str) -> None:
        for number in range(1, 13):
            await acme.put("guide", document_id, f"{document_id} revision {number}")
            floors[document_id] = number
            if number % 4 == 0:
                await acme.delete("guide", document_id)
                floors[document_id] = number + 1

    async def read() -> None:
        nonlocal searches
        while not stop.is_set():
            before = dict(floors)
            for text in await acme.found("guide", "revision", top_k=50):
                name, _, number = text.partition(" revision ")
                if number:
                    assert int(number) >= before.get(name, 0), text
            searches += 1

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(*(write(f"doc{number}") for number in range(4)))
    stop.set()
    await asyncio.gather(*readers)
    assert searches > 10
    assert [text for text in await acme.found("guide", "revision", top_k=50) if "revision" in text] == []


async def test_a_document_is_always_found_while_it_is_replaced(acme: Caller) -> None:
    """A search finds the version before or the new one: never neither, never both."""
    done = asyncio.Event()
    await acme.put("guide", "always", "steady revision 0")

    async def write() -> None:
        for number in range(1, 40):
            await acme.put("guide", "always", f"steady revision {number}")
        done.set()

    writer = asyncio.create_task(write())
    while not done.is_set():
        found = [text for text in await acme.found("guide", "steady") if text.startswith("steady")]
        assert len(found) == 1, found
    await writer


async def test_what_was_deleted_is_swept(rag: Rag, qdrant: object, acme: Caller) -> None:
    """Passages of old versions, deleted documents and deleted collections are taken from the index, the rest is not."""
    terms = QdrantIndex(qdrant, Bm25Terms())  # type: ignore[arg-type]
    collection = await acme.create("swept")
    await acme.put("swept", "a", "one")
    await acme.put("swept", "a", "two")
    names = [point.name for point in (await qdrant.get_collections()).collections]  # type: ignore[attr-defined]
    points = []
    for name in names:
        page, _ = await qdrant.scroll(name, limit=10_000)  # type: ignore[attr-defined]
        points += [point.payload for point in page if point.payload["text"] in ("one", "two")]
    owner = next(point for point in points if point["text"] == "two")
    garbage = Garbage(Scope(owner["tenant"], owner["collection"]))

    async def is_left(count: int) -> bool:
        return await terms.count(garbage) == count

    await eventually(lambda: is_left(1))
    await acme.collections.DeleteCollection(collection_service_pb2.DeleteCollectionRequest(collection="swept"))
    await eventually(lambda: is_left(0))
    await acme.create("swept")
    assert await acme.found("swept", "two") == []
    assert collection.collection.name == "swept"
