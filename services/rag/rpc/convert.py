"""Between the contract's messages and rag's own types."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors.errors import invalid_field
from services.rag.app.answer_question import Cited, Outcome, Question
from services.rag.domain.documents import Collection, Content, Document, Hit, IngestOutcome, MediaType
from services.rag.domain.prompt import Role, Turn
from services.rag.ports import Ingested, RequestKey
from weft.common.v1 import chat_message_pb2, usage_pb2
from weft.rag.v1 import answer_service_pb2, collection_pb2, document_pb2, document_service_pb2, passage_pb2

DEFAULT_TOP_K = 5
DEFAULT_OUTPUT_TOKENS = 512
_MAX_HISTORY_CHARS = 65_536

_MEDIA_TYPES: Mapping[int, MediaType] = {
    document_pb2.MEDIA_TYPE_PLAIN: MediaType.PLAIN,
    document_pb2.MEDIA_TYPE_MARKDOWN: MediaType.MARKDOWN,
    document_pb2.MEDIA_TYPE_HTML: MediaType.HTML,
}
_MEDIA_TYPE_VALUES = {media_type: value for value, media_type in _MEDIA_TYPES.items()}
_ROLES: Mapping[int, Role] = {
    chat_message_pb2.CHAT_ROLE_USER: Role.USER,
    chat_message_pb2.CHAT_ROLE_ASSISTANT: Role.ASSISTANT,
}
_INGEST_OUTCOMES = {
    IngestOutcome.CREATED: document_service_pb2.INGEST_OUTCOME_CREATED,
    IngestOutcome.REPLACED: document_service_pb2.INGEST_OUTCOME_REPLACED,
    IngestOutcome.UNCHANGED: document_service_pb2.INGEST_OUTCOME_UNCHANGED,
}
ANSWER_OUTCOMES = {
    Outcome.ANSWERED: answer_service_pb2.ANSWER_OUTCOME_ANSWERED,
    Outcome.NOT_FOUND: answer_service_pb2.ANSWER_OUTCOME_NOT_FOUND,
    Outcome.LENGTH: answer_service_pb2.ANSWER_OUTCOME_LENGTH,
    Outcome.BUDGET: answer_service_pb2.ANSWER_OUTCOME_BUDGET,
    Outcome.PASSAGES_ONLY: answer_service_pb2.ANSWER_OUTCOME_PASSAGES_ONLY,
}


def request_key(request: Message, request_id: str) -> RequestKey:
    """The request's id, and a digest of its type and of all that it asks for; empty without an id."""
    if not request_id:
        return RequestKey()
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("request_id")
    body = f"{request.DESCRIPTOR.full_name}\n".encode() + asked.SerializeToString(deterministic=True)
    return RequestKey(request_id, hashlib.sha256(body).hexdigest())


def content_of(request: document_service_pb2.IngestDocumentRequest) -> Content:
    """What is to be ingested."""
    return Content(_MEDIA_TYPES[request.media_type], request.content, request.title, request.source_uri)


def question_of(question: answer_service_pb2.Question) -> Question:
    """The question. Raises InvalidArgumentError for a history that is too long, or has a turn of the system."""
    if sum(len(turn.content) for turn in question.history) > _MAX_HISTORY_CHARS:
        raise invalid_field("question.history", f"must have at most {_MAX_HISTORY_CHARS} characters together")
    turns = []
    for number, turn in enumerate(question.history):
        role = _ROLES.get(turn.role)
        if role is None:
            raise invalid_field(f"question.history[{number}].role", "must be USER or ASSISTANT")
        turns.append(Turn(role, turn.content))
    return Question(
        collection=question.collection,
        text=question.text,
        history=tuple(turns),
        top_k=question.top_k or DEFAULT_TOP_K,
        max_output_tokens=question.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
        model=question.model,
    )


def to_collection(collection: Collection) -> collection_pb2.Collection:
    """As the contract has it."""
    return collection_pb2.Collection(
        name=collection.name,
        description=collection.description,
        document_count=collection.document_count,
        generation=collection.generation,
        create_time=_time(collection.create_time_s),
    )


def to_document(document: Document, collection: str) -> document_pb2.Document:
    """As the contract has it."""
    return document_pb2.Document(
        document_id=document.document_id,
        collection=collection,
        title=document.title,
        source_uri=document.source_uri,
        media_type=_MEDIA_TYPE_VALUES[document.media_type],  # type: ignore[arg-type]
        content_hash=document.content_hash,
        version_id=document.version_id,
        size_bytes=document.size_bytes,
        passage_count=document.passage_count,
        create_time=_time(document.create_time_s),
        update_time=_time(document.update_time_s),
    )


def to_ingest_response(ingested: Ingested, collection: str) -> document_service_pb2.IngestDocumentResponse:
    """As the contract has it."""
    return document_service_pb2.IngestDocumentResponse(
        document=to_document(ingested.document, collection),
        outcome=_INGEST_OUTCOMES[ingested.outcome],
        usage=usage_pb2.Usage(input_tokens=ingested.input_tokens),
    )


def to_passage(hit: Hit) -> passage_pb2.Passage:
    """As the contract has it."""
    passage = hit.passage
    return passage_pb2.Passage(
        document_id=passage.document_id,
        version_id=passage.version_id,
        position=passage.position,
        title=passage.title,
        source_uri=passage.source_uri,
        headings=passage.headings,
        text=passage.text,
        start_offset=passage.start,
        end_offset=passage.end,
        score=hit.score,
        similarity=hit.similarity,
    )


def to_citation(cited: Cited) -> answer_service_pb2.Citation:
    """As the contract has it."""
    return answer_service_pb2.Citation(
        number=cited.number,
        start_offset=cited.start,
        end_offset=cited.end,
        document_id=cited.passage.document_id,
        version_id=cited.passage.version_id,
        position=cited.passage.position,
    )


def to_degradation(lexical_only: bool) -> passage_pb2.Degradation.ValueType:
    """As the contract has it."""
    return passage_pb2.DEGRADATION_LEXICAL_ONLY if lexical_only else passage_pb2.DEGRADATION_UNSPECIFIED


def stamps_of(collection: str, generation: int) -> dict[str, str]:
    """What an answer from a collection depends on besides models, whose services say that themselves."""
    return {f"collection/{collection}": str(generation)}


def _time(seconds: float) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(round(seconds * 1000))
    return time
