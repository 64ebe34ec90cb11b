"""Wrong input through the gateway of a whole stack: the right code, one reason, the wrong field by its name."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import jwt
import pytest

import weft.client
from libs.contracts import headers
from tests.conftest import RunningStack
from weft.embedding.v1 import embedding_service_pb2 as embedding
from weft.gateway.v1 import identity_service_pb2 as gateway
from weft.inference.v1 import generation_service_pb2 as generation
from weft.inference.v1 import model_service_pb2 as models
from weft.rag.v1 import answer_service_pb2 as answers
from weft.rag.v1 import collection_service_pb2 as collections
from weft.rag.v1 import document_pb2, search_service_pb2
from weft.rag.v1 import document_service_pb2 as documents

COLLECTION = "inputs"
Call = Callable[[weft.client.Client], Awaitable[Any]]
BAD_NAMES = ["", "a/b", "..", "a..b", ".a", "a\x00b", "a\nb", "ä", "a" * 64]


@pytest.fixture(scope="module")
async def client(stack: RunningStack) -> AsyncIterator[weft.client.Client]:
    """A caller with all scopes, whose tenant has one empty collection."""
    async with weft.client.connect(stack.address, token=stack.token(tenant="inputs")) as opened:
        await opened.collections.CreateCollection(collections.CreateCollectionRequest(collection=COLLECTION))
        yield opened


async def failure(awaitable: Awaitable[Any]) -> weft.client.CallError:
    """The error of a call, which must fail."""
    with pytest.raises(weft.client.CallError) as raised:
        await awaitable
    return raised.value


def ingest(**changed: Any) -> documents.IngestDocumentRequest:
    """An ingest that would succeed, changed."""
    fields = {
        "collection": COLLECTION,
        "document_id": "d",
        "media_type": document_pb2.MEDIA_TYPE_PLAIN,
        "content": b"Some text.",
    }
    return documents.IngestDocumentRequest(**{**fields, **changed})


def question(**changed: Any) -> answers.AnswerRequest:
    """A question that would be answered, changed."""
    return answers.AnswerRequest(question=answers.Question(**{"collection": COLLECTION, "text": "Why?", **changed}))


WRONG_FIELDS: dict[str, tuple[Call, str]] = {
    "empty query": (
        lambda c: c.search.Search(search_service_pb2.SearchRequest(collection=COLLECTION)),
        "query",
    ),
    "blank query": (
        lambda c: c.search.Search(search_service_pb2.SearchRequest(collection=COLLECTION, query=" \n")),
        "query",
    ),
    "over-long query": (
        lambda c: c.search.Search(search_service_pb2.SearchRequest(collection=COLLECTION, query="x" * 4001)),
        "query",
    ),
    "top_k below": (
        lambda c: c.search.Search(search_service_pb2.SearchRequest(collection=COLLECTION, query="x", top_k=-1)),
        "top_k",
    ),
    "top_k above": (
        lambda c: c.search.Search(search_service_pb2.SearchRequest(collection=COLLECTION, query="x", top_k=101)),
        "top_k",
    ),
    "no question": (lambda c: c.answers.Answer(answers.AnswerRequest()), "question"),
    "empty question": (lambda c: c.answers.Answer(question(text="")), "question.text"),
    "model with a slash": (lambda c: c.answers.Answer(question(model="../x")), "question.model"),
    "no content": (lambda c: c.documents.IngestDocument(ingest(content=b"")), "content"),
    "over-sized content": (lambda c: c.documents.IngestDocument(ingest(content=b"x " * (1 << 20) + b"x")), "content"),
    "no media type": (lambda c: c.documents.IngestDocument(ingest(media_type=0)), "media_type"),
    "unknown media type": (lambda c: c.documents.IngestDocument(ingest(media_type=77)), "media_type"),
    "request id that is no UUID": (lambda c: c.documents.IngestDocument(ingest(request_id="1")), "request_id"),
    "negative page": (
        lambda c: c.documents.ListDocuments(documents.ListDocumentsRequest(collection=COLLECTION, page_size=-1)),
        "page_size",
    ),
    "no texts": (lambda c: c.embeddings.Embed(embedding.EmbedRequest()), "texts"),
    "blank text": (lambda c: c.embeddings.Embed(embedding.EmbedRequest(texts=["a", " "])), "texts[1]"),
    "too many texts": (lambda c: c.embeddings.Embed(embedding.EmbedRequest(texts=["a"] * 513)), "texts"),
    "no prompt": (lambda c: c.generation.Generate(generation.GenerateRequest()), "prompt"),
    "no messages": (
        lambda c: c.generation.Generate(generation.GenerateRequest(prompt=generation.Prompt())),
        "prompt.messages",
    ),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
async def test_a_wrong_field_is_named(client: weft.client.Client, name: str) -> None:
    """Out of bounds is INVALID_ARGUMENT with FIELD_INVALID, and the violation names the field."""
    call, field = WRONG_FIELDS[name]
    error = await failure(call(client))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [field]
    assert error.request_id


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_is_refused_everywhere(client: weft.client.Client, name: str) -> None:
    """No slash, dot-dot, control character or foreign letter passes as a collection, a document or a model."""
    calls: list[tuple[Awaitable[Any], str]] = [
        (client.collections.CreateCollection(collections.CreateCollectionRequest(collection=name)), "collection"),
        (client.collections.DeleteCollection(collections.DeleteCollectionRequest(collection=name)), "collection"),
        (client.documents.IngestDocument(ingest(collection=name)), "collection"),
        (client.documents.IngestDocument(ingest(document_id=name * 4)), "document_id"),
        (client.answers.Answer(question(collection=name)), "question.collection"),
        (client.models.GetModel(models.GetModelRequest(model=name * 2)), "model"),
    ]
    for call, field in calls:
        error = await failure(call)
        assert (error.reason, [violation.field for violation in error.violations]) == ("FIELD_INVALID", [field])


async def test_what_is_not_there(client: weft.client.Client) -> None:
    """A missing collection, document and model are each NOT_FOUND, with a reason and the name of their own."""
    missing = "missing"
    asked: list[tuple[Awaitable[Any], str, dict[str, str]]] = [
        (
            client.collections.GetCollection(collections.GetCollectionRequest(collection=missing)),
            "COLLECTION_NOT_FOUND",
            {"collection": missing},
        ),
        (
            client.documents.DeleteDocument(
                documents.DeleteDocumentRequest(collection=COLLECTION, document_id=missing)
            ),
            "DOCUMENT_NOT_FOUND",
            {"collection": COLLECTION, "document_id": missing},
        ),
        (client.models.GetModel(models.GetModelRequest(model=missing)), "MODEL_NOT_FOUND", {"model": missing}),
        (
            client.embeddings.Embed(embedding.EmbedRequest(texts=["a"], model=missing)),
            "MODEL_NOT_FOUND",
            {"model": missing},
        ),
    ]
    for call, reason, metadata in asked:
        error = await failure(call)
        assert (error.code, error.reason, error.metadata) == (grpc.StatusCode.NOT_FOUND, reason, metadata)


async def test_content_that_cannot_be_read_leaves_nothing(client: weft.client.Client) -> None:
    """Content that is not UTF-8, or has no text, is DOCUMENT_UNREADABLE, and no document is there afterwards."""
    for content, media_type in (
        (b"\xff\xfe\x00", document_pb2.MEDIA_TYPE_PLAIN),
        (b" \n\t ", document_pb2.MEDIA_TYPE_MARKDOWN),
        (b"<script>alert(1)</script>", document_pb2.MEDIA_TYPE_HTML),
    ):
        error = await failure(client.documents.IngestDocument(ingest(content=content, media_type=media_type)))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DOCUMENT_UNREADABLE")
    page = await client.documents.ListDocuments(documents.ListDocumentsRequest(collection=COLLECTION))
    assert list(page.documents) == []


async def test_a_page_token_of_another_list(client: weft.client.Client) -> None:
    """A token is good for its own list only, and a made-up one for none."""
    page = await client.models.ListModels(models.ListModelsRequest(page_size=1))
    assert page.next_page_token
    for token in (page.next_page_token, "made up", "AAAA"):
        error = await failure(
            client.documents.ListDocuments(documents.ListDocumentsRequest(collection=COLLECTION, page_token=token))
        )
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_request_id_stands_for_one_request(client: weft.client.Client) -> None:
    """The same mutation again returns the first answer; another one with its id is refused."""
    request = collections.CreateCollectionRequest(collection="once", request_id="7a1f9a6e-9d0c-4d3e-9a53-0f1f6f1b2c3d")
    first = await client.collections.CreateCollection(request)
    assert await client.collections.CreateCollection(request) == first
    request.collection = "twice"
    error = await failure(client.collections.CreateCollection(request))
    assert error.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "TOKEN_MISSING"),
        ("garbage", "TOKEN_MALFORMED"),
        (jwt.encode({"sub": "x"}, "", algorithm="none"), "TOKEN_MALFORMED"),
        (jwt.encode({"sub": "x"}, "k" * 32, algorithm="HS256"), "TOKEN_MALFORMED"),
    ],
)
async def test_a_token_that_is_none(stack: RunningStack, token: str, reason: str) -> None:
    """Without a token, and with one that cannot be believed whoever signed it, nobody is known."""
    async with weft.client.connect(stack.address, token=token or None) as stranger:
        error = await failure(stranger.identity.WhoAmI(gateway.WhoAmIRequest()))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_an_inner_service_wants_a_signed_context(stack: RunningStack) -> None:
    """A caller that goes around the gateway is refused, token or not, forged context or not."""
    token = stack.token()
    for part, path in (
        ("rag", "/weft.rag.v1.SearchService/Search"),
        ("embedding", "/weft.embedding.v1.EmbeddingService/Embed"),
        ("inference", "/weft.inference.v1.GenerationService/Generate"),
        ("inference", "/inference.GRPCInferenceService/ModelInfer"),
    ):
        async with grpc.aio.insecure_channel(stack.stack.address(part)) as channel:
            call: Any = channel.unary_unary(path)
            for sent in ((), ((headers.CONTEXT, b"\x01" * 80),)):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call(b"", metadata=((headers.AUTHORIZATION, f"Bearer {token}"), *sent), timeout=10)
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_headers_that_cannot_be_meant(client: weft.client.Client) -> None:
    """An unknown priority and a bound on tokens that is none are refused by their names."""
    for name, value in ((headers.PRIORITY, "urgent"), (headers.MAX_TOKENS, "-1"), (headers.MAX_TOKENS, "many")):
        error = await failure(client.identity.WhoAmI(gateway.WhoAmIRequest(), metadata=((name, value),)))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "HEADER_INVALID")
        assert error.metadata == {"header": name}


async def test_who_am_i(stack: RunningStack) -> None:
    """The token's principal, tenant, scopes and end come back."""
    before = time.time()
    async with weft.client.connect(stack.address, token=stack.token(["rag.read"], tenant="me")) as me:
        said = await me.identity.WhoAmI(gateway.WhoAmIRequest())
    assert (said.principal, said.tenant, list(said.scopes)) == ("tests", "me", ["rag.read"])
    assert before < said.expire_time.seconds <= time.time() + 3600
