"""rag within what the gateway's policies give it: an allowance, answers that are kept, models that are away."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.contracts import headers
from libs.errors.errors import (
    DeadlineExceededError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
)
from libs.parts.processes import RunningPart
from services.rag.tests.neighbours import budget_exhausted
from services.rag.tests.served import Caller, Rag, caller, rag_served, reason_of
from weft.common.v1 import usage_pb2
from weft.inference.v1 import generation_service_pb2
from weft.rag.v1 import answer_service_pb2, document_service_pb2, passage_pb2, search_service_pb2

GUIDE = "# Whales\n\nThe blue whale is the largest animal.\n\n# Eagles\n\nEagles nest on cliffs."
QUERY = "What is the largest animal?"
LONG = "\n\n".join(f"Paragraph {number} of a long text " + "with many words " * 60 for number in range(150))
Done = generation_service_pb2.Done


@pytest.fixture
async def rag(redis_server: RunningPart, qdrant_server: RunningPart, tokenizer_file: Path) -> AsyncIterator[Rag]:
    """One for each test, which changes what stands behind it."""
    async with rag_served(redis_server, qdrant_server, tokenizer_file) as served:
        yield served


@pytest.fixture
def tenant_name() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid.uuid4()}"


@pytest.fixture
async def acme(rag: Rag, tenant_name: str) -> AsyncIterator[Caller]:
    """A caller with one collection, `guide`, and one document in it."""
    async with caller(rag.served, tenant_name) as tenant:
        await tenant.create("guide")
        await tenant.put("guide", "animals", GUIDE)
        yield tenant


def question(**more: Any) -> answer_service_pb2.Question:
    """The question to the collection."""
    return answer_service_pb2.Question(collection="guide", text=QUERY, **more)


async def depends_of(call: Any) -> str | None:
    """What the answer of a call says that it depends on."""
    await call
    return dict(await call.trailing_metadata()).get(headers.DEPENDS)


async def searched(tenant: Caller) -> str | None:
    """The same of a search."""
    return await depends_of(tenant.searches.Search(search_service_pb2.SearchRequest(collection="guide", query=QUERY)))


async def answered(tenant: Caller) -> str | None:
    """The same of an answer."""
    return await depends_of(tenant.answers.Answer(answer_service_pb2.AnswerRequest(question=question())))


async def generation_of(tenant: Caller) -> int:
    """The collection's."""
    return (await tenant.search("guide", QUERY)).generation


async def test_good_answers_name_what_they_depend_on(rag: Rag, acme: Caller) -> None:
    """The collection's generation, the embedding model, and the model that wrote, where one did."""
    generation = await generation_of(acme)
    assert await searched(acme) == f"collection/guide={generation} model/words=4"
    assert await answered(acme) == f"collection/guide={generation} model/simple=7 model/words=4"
    await acme.put("guide", "more", "More animals.")
    later = await generation_of(acme)
    assert later > generation
    assert await searched(acme) == f"collection/guide={later} model/words=4"
    unknown = answer_service_pb2.Question(collection="guide", text="Who tuned grandfather's piano?")
    not_found = acme.answers.Answer(answer_service_pb2.AnswerRequest(question=unknown))
    assert await depends_of(not_found) == f"collection/guide={later} model/words=4"


async def test_answers_that_lack_something_name_nothing(rag: Rag, acme: Caller) -> None:
    """Without vectors, without a model, of models whose versions are not told: none of these is to be kept."""
    rag.embedding.version = ""
    assert (await searched(acme), await answered(acme)) == (None, None)
    rag.embedding.version, rag.generation.version = "4", ""
    assert await answered(acme) is None
    rag.generation.version = "7"
    rag.generation.pieces, rag.generation.failure = [], UnavailableError(Reason.MODEL_UNAVAILABLE, "no")
    assert await answered(acme) is None
    rag.embedding.failure = UnavailableError(Reason.MODEL_UNAVAILABLE, "no")
    assert (await searched(acme), await answered(acme)) == (None, None)


@pytest.mark.parametrize(
    ("done", "max_output_tokens", "is_kept"),
    [
        (Done(finish_reason=generation_service_pb2.FINISH_REASON_LENGTH, model="m"), 0, True),
        (Done(finish_reason=generation_service_pb2.FINISH_REASON_LENGTH, model="m"), 100, False),
        (Done(finish_reason=generation_service_pb2.FINISH_REASON_STOP, model="m"), 100, True),
        (Done(finish_reason=generation_service_pb2.FINISH_REASON_BUDGET, model="m"), 0, False),
        (Done(finish_reason=generation_service_pb2.FINISH_REASON_STOP, model="m", fallback_for="n"), 0, False),
    ],
)
async def test_an_answer_that_is_less_than_was_asked_for_is_not_kept(
    rag: Rag, acme: Caller, tenant_name: str, done: Done, max_output_tokens: int, is_kept: bool
) -> None:
    """Cut by the caller's budget or by a bound of the call, or written by a fallback; one that is cut where the request
    says is as good as whole."""
    rag.generation.done.CopyFrom(done)
    async with caller(rag.served, tenant_name, max_output_tokens=max_output_tokens) as tenant:
        assert (await answered(tenant) is not None) == is_kept


async def test_a_budget_that_ends_cuts_the_answer(rag: Rag, acme: Caller) -> None:
    """What was written until then, its usage, and an outcome of its own; no error."""
    rag.generation.done.CopyFrom(Done(finish_reason=generation_service_pb2.FINISH_REASON_BUDGET, model="m"))
    whole = await acme.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))
    assert (whole.text, whole.outcome) == ("It is so [1].", answer_service_pb2.ANSWER_OUTCOME_BUDGET)
    assert whole.usage == usage_pb2.Usage(input_tokens=5 + 100, output_tokens=3)


async def test_a_fallback_is_named(rag: Rag, acme: Caller) -> None:
    """In the answer and in the stream's end."""
    rag.generation.done.fallback_for = "large-v1"
    whole = await acme.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))
    assert (whole.model, whole.fallback_for) == ("simple-v1", "large-v1")
    stream = acme.answers.StreamAnswer(answer_service_pb2.StreamAnswerRequest(question=question()))
    assert [event async for event in stream][-1].done.fallback_for == "large-v1"


@pytest.mark.parametrize(
    "failure",
    [
        UnavailableError(Reason.MODEL_UNAVAILABLE, "dead", metadata={"model": "m"}),
        UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "open", metadata={"dependency": "triton"}),
        ResourceExhaustedError(Reason.OVERLOADED, "full", retry_after_s=2.0),
        DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "the model server did not answer in time"),
    ],
    ids=["model", "breaker", "full", "late"],
)
async def test_without_a_model_the_passages_are_the_answer(rag: Rag, acme: Caller, failure: ServiceError) -> None:
    """Both methods end well: passages, what finding them cost, and the outcome."""
    rag.generation.pieces, rag.generation.failure = [], failure
    events = [event async for event in acme.answers.StreamAnswer(_streamed())]
    assert [event.WhichOneof("event") for event in events] == ["passages", "usage", "done"]
    assert events[-1].done == answer_service_pb2.AnswerDone(outcome=answer_service_pb2.ANSWER_OUTCOME_PASSAGES_ONLY)
    whole = await acme.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))
    assert [passage.text for passage in whole.passages][:1] == ["The blue whale is the largest animal."]
    assert (whole.text, whole.model, whole.outcome) == ("", "", answer_service_pb2.ANSWER_OUTCOME_PASSAGES_ONLY)
    assert whole.usage.input_tokens >= 5


async def test_without_an_inference_service_the_passages_are_the_answer(
    redis_server: RunningPart, qdrant_server: RunningPart, tokenizer_file: Path
) -> None:
    """Nobody listens where it should be."""
    async with (
        rag_served(redis_server, qdrant_server, tokenizer_file, inference="127.0.0.1:1") as rag,
        caller(rag.served) as tenant,
    ):
        await tenant.create("guide")
        await tenant.put("guide", "animals", GUIDE)
        whole = await tenant.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))
    assert whole.outcome == answer_service_pb2.ANSWER_OUTCOME_PASSAGES_ONLY
    assert (len(whole.passages), whole.usage) == (2, usage_pb2.Usage(input_tokens=5))


async def test_a_model_that_there_is_not_is_an_error(rag: Rag, acme: Caller) -> None:
    """The caller named it, and can do better."""
    rag.generation.pieces = []
    rag.generation.failure = NotFoundError(Reason.MODEL_NOT_FOUND, "none", metadata={"model": "x"})
    assert await failure_of(acme.answers.Answer(answer_service_pb2.AnswerRequest(question=question(model="x")))) == (
        "MODEL_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "failure",
    [
        ResourceExhaustedError(Reason.OVERLOADED, "full", retry_after_s=1.0),
        DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "the model server did not answer in time"),
    ],
    ids=["full", "late"],
)
async def test_an_embedding_service_in_trouble_is_searched_around(
    rag: Rag, acme: Caller, failure: ServiceError
) -> None:
    """Full, or late while the call has time: words alone are searched; an ingest hears that it may try again."""
    rag.embedding.failure = failure
    assert await failure_of(acme.put("guide", "new", "text")) == "DEPENDENCY_UNAVAILABLE"
    assert (await acme.search("guide", "cliffs")).degradation == passage_pb2.DEGRADATION_LEXICAL_ONLY


async def test_a_budget_that_is_used_up_is_told(rag: Rag, acme: Caller, tenant_name: str) -> None:
    """Where not even the question can be embedded, or the prompt not be read, the caller hears BUDGET_EXHAUSTED."""
    async with caller(rag.served, tenant_name, allowance_tokens=4) as poor:
        assert await failure_of(poor.search("guide", QUERY)) == "BUDGET_EXHAUSTED"
        assert await failure_of(poor.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))) == (
            "BUDGET_EXHAUSTED"
        )
    async with caller(rag.served, tenant_name, allowance_tokens=5) as enough:
        assert not (await enough.search("guide", QUERY)).degradation
    rag.generation.pieces, rag.generation.failure = [], budget_exhausted()
    assert await failure_of(acme.answers.Answer(answer_service_pb2.AnswerRequest(question=question()))) == (
        "BUDGET_EXHAUSTED"
    )


async def test_an_ingest_over_its_allowance_changes_nothing(rag: Rag, acme: Caller, tenant_name: str) -> None:
    """Though it has embedded much of the document: the version before stays, and is found."""
    before = await acme.documents.GetDocument(_animals())
    rag.embedding.calls = 0
    async with caller(rag.served, tenant_name, allowance_tokens=20_000) as poor:
        assert await failure_of(poor.put("guide", "animals", LONG)) == "BUDGET_EXHAUSTED"
    assert rag.embedding.calls == 2
    assert await acme.documents.GetDocument(_animals()) == before
    assert [text for text in await acme.found("guide", "Paragraph of a long text", 50) if "Paragraph" in text] == []


async def test_batches_of_an_ingest_share_what_it_may_use(rag: Rag, acme: Caller, tenant_name: str) -> None:
    """As many tokens as they use together are enough: what a batch did not use of its share is free for the next."""
    used = (await acme.put("guide", "first", LONG)).usage.input_tokens
    async with caller(rag.served, tenant_name, allowance_tokens=used) as enough:
        assert (await enough.put("guide", "second", LONG)).usage.input_tokens == used
    async with caller(rag.served, tenant_name, allowance_tokens=used - 1) as poor:
        assert await failure_of(poor.put("guide", "third", LONG)) == "BUDGET_EXHAUSTED"


def _animals() -> document_service_pb2.GetDocumentRequest:
    return document_service_pb2.GetDocumentRequest(collection="guide", document_id="animals")


def _streamed() -> answer_service_pb2.StreamAnswerRequest:
    return answer_service_pb2.StreamAnswerRequest(question=question())


async def failure_of(call: Any) -> str:
    """Why a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)
