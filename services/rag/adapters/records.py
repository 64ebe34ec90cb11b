"""How the catalogue's entries are written in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.rag.domain.documents import Collection, Document, Engine, IngestOutcome, MediaType
from services.rag.ports import Ingested


def dump_document(document: Document) -> bytes:
    """A document as JSON."""
    return orjson.dumps(_document_fields(document))


def load_document(data: bytes) -> Document:
    """The inverse of `dump_document`."""
    return _document(orjson.loads(data))


def dump_ingested(ingested: Ingested) -> bytes:
    """The answer of an ingest as JSON."""
    fields = {
        "document": _document_fields(ingested.document),
        "outcome": ingested.outcome.value,
        "input_tokens": ingested.input_tokens,
    }
    return orjson.dumps(fields)


def load_ingested(data: bytes) -> Ingested:
    """The inverse of `dump_ingested`."""
    fields = orjson.loads(data)
    return Ingested(_document(fields["document"]), IngestOutcome(fields["outcome"]), fields["input_tokens"])


def load_collection(name: str, fields: Mapping[str, Any], document_count: int) -> Collection:
    """A collection from the fields of its hash."""
    model = fields.get("model")
    return Collection(
        name=name,
        uid=fields["uid"],
        description=fields["description"],
        generation=int(fields["generation"]),
        document_count=document_count,
        create_time_s=int(fields["create_ms"]) / 1000,
        engine=Engine(model, fields["model_version"]) if model else None,
    )


def _document_fields(document: Document) -> dict[str, Any]:
    return {
        "document_id": document.document_id,
        "title": document.title,
        "source_uri": document.source_uri,
        "media_type": document.media_type.value,
        "content_hash": document.content_hash,
        "version_id": document.version_id,
        "size_bytes": document.size_bytes,
        "passage_count": document.passage_count,
        "create_time_s": document.create_time_s,
        "update_time_s": document.update_time_s,
        "given_title": document.given_title,
        "engine": [document.engine.model, document.engine.version],
    }


def _document(fields: dict[str, Any]) -> Document:
    return Document(**{**fields, "media_type": MediaType(fields["media_type"]), "engine": Engine(*fields["engine"])})
