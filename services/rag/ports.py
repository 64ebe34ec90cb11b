"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from collections.abc import Collection as Container
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.rag.domain.documents import Collection, Document, Engine, Hit, IngestOutcome, MediaType, Passage
from services.rag.domain.parsed_text import ParsedText
from services.rag.domain.prompt import Turn


@dataclass(frozen=True)
class RequestKey:
    """A caller's id of a request, and a digest of what was asked under it. An empty id: none."""

    request_id: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Ingested:
    """The answer of an ingest."""

    document: Document
    outcome: IngestOutcome
    input_tokens: int


@dataclass(frozen=True)
class Embedded:
    """One unit vector a text, in order, what made them, and what it cost.

    `is_stamped`: it is told which version of the model made them, so that an answer made of them may be kept.
    """

    vectors: Sequence[Sequence[float]]
    engine: Engine
    input_tokens: int
    is_stamped: bool


@dataclass(frozen=True)
class PassageVector:
    """A passage, its vector, and the text that stands for it where words are searched."""

    passage: Passage
    vector: Sequence[float]
    words: str


@dataclass(frozen=True)
class Query:
    """What to look for. `vector` is None where only words are to be searched."""

    text: str
    vector: Sequence[float] | None


@dataclass(frozen=True)
class Scope:
    """Whose passages: one collection of one tenant, by the collection's uid."""

    tenant: str
    uid: str


@dataclass(frozen=True)
class Garbage:
    """Passages that nobody can find any more: of one version, or (version_id empty) of a whole collection."""

    scope: Scope
    version_id: str = ""


@dataclass(frozen=True)
class CurrentVersions:
    """The versions of documents that are current, and the collection's generation, at one instant."""

    generation: int
    versions: Mapping[str, str]


class Finish(Enum):
    """Why a generation ended: the model was done; it was cut at its most tokens or the model's window; nothing is left
    of what the call may use."""

    WHOLE = "whole"
    LENGTH = "length"
    BUDGET = "budget"


@dataclass(frozen=True)
class GenerationEnd:
    """How a generation ended. `model` is the descriptive name of the one that wrote; `fallback_for` that of the one in
    whose place it did, empty where it was itself asked. `is_stamped`: as of Embedded."""

    finish: Finish
    model: str
    fallback_for: str
    is_stamped: bool


@dataclass(frozen=True)
class Generated:
    """An event of a generation: text, or what it cost (before its end, and before an error that came after text), or
    its end."""

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    end: GenerationEnd | None = None


class Tokenizer(Protocol):
    """Cuts texts into a model's tokens."""

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text where its tokens stand, in code points, without the model's own markers."""
        ...

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        ...


class DocumentParser(Protocol):
    """Reads content."""

    def __call__(self, data: bytes, media_type: MediaType) -> ParsedText:
        """Raises InvalidArgumentError (DOCUMENT_UNREADABLE) where there is no text, or the bytes are not UTF-8."""
        ...


class Terms(Protocol):
    """Finds the words that count in a text."""

    def __call__(self, text: str) -> frozenset[int]:
        """An id for each different word; common words have none, and forms of one word have one."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """All or nothing. Raises UnavailableError, DeadlineExceededError, ResourceExhaustedError (BUDGET_EXHAUSTED)."""
        ...


class TextGenerator(Protocol):
    """Writes text."""

    def stream(self, turns: Sequence[Turn], *, model: str, max_output_tokens: int) -> AsyncGenerator[Generated, None]:
        """The continuation of a conversation as it is written. Closing the iterator stops the model.

        Raises NotFoundError (MODEL_NOT_FOUND), InvalidArgumentError (PROMPT_TOO_LONG), UnavailableError,
        DeadlineExceededError, ResourceExhaustedError (OVERLOADED, BUDGET_EXHAUSTED).
        """
        ...


class PassageIndex(Protocol):
    """Keeps passages with their vectors and words. What it holds can be made again; the catalogue says what counts."""

    async def add(self, scope: Scope, engine: Engine, passages: Sequence[PassageVector]) -> None:
        """Searchable when this returns. A second add of the same passages changes nothing."""
        ...

    async def search(
        self, scope: Scope, engine: Engine, query: Query, *, limit: int, without: Container[str] = ()
    ) -> list[Hit]:
        """The best hits of the scope, at most `limit`, best first; none of the versions `without`."""
        ...

    async def remove(self, garbage: Garbage) -> None:
        """Takes passages away, of every engine. A second removal changes nothing."""
        ...

    async def count(self, garbage: Garbage) -> int:
        """How many passages there are of a version or a collection, of every engine."""
        ...


class Catalogue(Protocol):
    """What is true of collections and documents. Each method is atomic.

    Writes with a request id that was answered in the last 24 hours return that answer again; they raise
    InvalidArgumentError (REQUEST_ID_REUSED) where the id stood for something else. Every method raises UnavailableError
    (DEPENDENCY_UNAVAILABLE), and NotFoundError (COLLECTION_NOT_FOUND) for a collection that the tenant does not have.
    """

    async def create_collection(self, tenant: str, name: str, description: str, request: RequestKey) -> Collection:
        """Raises AlreadyExistsError (COLLECTION_EXISTS), ResourceExhaustedError (QUOTA_EXCEEDED)."""
        ...

    async def collection(self, tenant: str, name: str) -> Collection: ...

    async def collections(self, tenant: str, *, after: str, limit: int) -> list[Collection]:
        """The next `limit` collections whose names come after `after`, by name."""
        ...

    async def delete_collection(self, tenant: str, name: str, request: RequestKey) -> int:
        """How many documents went with it. Their passages become garbage."""
        ...

    async def document(self, tenant: str, name: str, document_id: str) -> Document:
        """Raises NotFoundError (DOCUMENT_NOT_FOUND)."""
        ...

    async def documents(self, tenant: str, name: str, *, after: str, limit: int) -> list[Document]:
        """The next `limit` documents whose ids come after `after`, by id."""
        ...

    async def delete_document(self, tenant: str, name: str, document_id: str, request: RequestKey) -> None:
        """Raises NotFoundError (DOCUMENT_NOT_FOUND). Its passages become garbage."""
        ...

    async def current_versions(
        self, tenant: str, collection: Collection, document_ids: Sequence[str]
    ) -> CurrentVersions:
        """Of those documents that there are."""
        ...

    async def first_answer(self, tenant: str, request: RequestKey) -> Ingested | None:
        """The answer that an ingest with this request id had."""
        ...

    async def keep_answer(self, tenant: str, ingested: Ingested, request: RequestKey) -> Ingested:
        """Keeps the answer of an ingest that changed nothing. Returns the first one to this request id."""
        ...

    async def begin_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        """Promises that a version's passages are taken away unless it becomes current, whatever becomes of the caller.

        The promise runs out some time after the last `renew_version`. Raises ResourceExhaustedError (QUOTA_EXCEEDED)
        where the collection has no room for the document.
        """
        ...

    async def renew_version(self, tenant: str, collection: Collection, document_id: str, version_id: str) -> None:
        """Says that the passages of a version are still being written. Raises AbortedError (WRITE_CONFLICT): too
        late."""
        ...

    async def abandon_version(self, tenant: str, collection: Collection, version_id: str) -> None:
        """Makes the passages of a version that is not current garbage."""
        ...

    async def make_current(
        self, tenant: str, collection: Collection, ingested: Ingested, replaces: str, request: RequestKey
    ) -> Ingested:
        """Makes the document's version current in the place of the version `replaces` (empty: of none), which becomes
        garbage.

        Raises AbortedError (WRITE_CONFLICT) where another version is current, or the promise of `begin_version` has
        run out.
        """
        ...

    async def claim_garbage(self, tenant: str, *, limit: int) -> list[Garbage]:
        """Up to `limit` pieces of garbage that are due. Each is handed out again later unless it is `forget`-ed."""
        ...

    async def forget(self, garbage: Garbage) -> None:
        """The passages are gone from the index."""
        ...

    def tenants(self) -> AsyncIterator[str]:
        """Every tenant that ever had a collection."""
        ...
