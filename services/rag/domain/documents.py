"""What rag keeps: collections, documents, and the passages that documents are cut into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

_EMBEDDED_PATH_CHARS = 120
"""So long that with a passage's tokens it still fits the window of a small embedding model."""


class MediaType(Enum):
    """How content is read; the values are media types."""

    PLAIN = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"


@dataclass(frozen=True)
class Engine:
    """What made a vector. Vectors of different engines are never compared."""

    model: str
    version: str


@dataclass(frozen=True)
class Collection:
    """A tenant's set of documents. `uid` tells it from an earlier collection of the same name; `engine` is that of the
    last ingest."""

    name: str
    uid: str
    description: str
    generation: int
    document_count: int
    create_time_s: float
    engine: Engine | None = None


@dataclass(frozen=True)
class Content:
    """What a caller wants to be a document's content, as given."""

    media_type: MediaType
    data: bytes
    title: str = ""
    source_uri: str = ""

    def content_hash(self) -> str:
        """SHA-256 of the bytes, lower-case hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Document:
    """A current document. `given_title` is the caller's own, empty where `title` was found in the content."""

    document_id: str
    title: str
    source_uri: str
    media_type: MediaType
    content_hash: str
    version_id: str
    size_bytes: int
    passage_count: int
    create_time_s: float
    update_time_s: float
    given_title: str
    engine: Engine

    def holds(self, content: Content, content_hash: str) -> bool:
        """Whether an ingest of `content` would change nothing but the time."""
        return (self.content_hash, self.given_title, self.source_uri, self.media_type) == (
            content_hash,
            content.title,
            content.source_uri,
            content.media_type,
        )


class IngestOutcome(Enum):
    """What an ingest did."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Passage:
    """A piece of one version of a document; offsets are code points of the parsed text, the end is exclusive."""

    document_id: str
    version_id: str
    position: int
    title: str
    source_uri: str
    headings: tuple[str, ...]
    text: str
    start: int
    end: int

    @property
    def embedded_text(self) -> str:
        """What is embedded and searched by words: the path to the passage, shortened, and its text.

        A title that is only the document's id says nothing, and one that is a heading is said once.
        """
        is_said = self.title not in (self.document_id, *self.headings)
        path = " > ".join((self.title, *self.headings) if is_said else self.headings)[:_EMBEDDED_PATH_CHARS].rstrip()
        return f"{path}\n{self.text}" if path else self.text


@dataclass(frozen=True)
class Hit:
    """A passage that a query found. `score` compares within one query; `similarity` is the cosine, None where vectors
    did not find it."""

    passage: Passage
    score: float
    similarity: float | None

    @property
    def key(self) -> tuple[str, int]:
        """Tells passages apart within a collection."""
        return (self.passage.version_id, self.passage.position)
