"""rag's use cases over fakes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.rag.adapters.parsing.parser import parse_content
from services.rag.app.answer_question import AnswerEvent, AnswerLimits, AnswerQuestion, Question
from services.rag.app.ingest_document import IngestDocument, IngestLimits
from services.rag.app.search_passages import SearchPassages
from services.rag.app.sweep import Sweep
from services.rag.domain.documents import Content, MediaType
from services.rag.domain.evidence import Thresholds
from services.rag.domain.prompt import Turn
from services.rag.ports import Ingested, RequestKey
from services.rag.tests.fakes import FakeCatalogue, FakeEmbedder, FakeGenerator, FakeIndex, FakeTokenizer, words_of

TENANT = "acme"
COLLECTION = "faq"
NO_ID = RequestKey()
SOON_S = 0.1
"""The time that a search gives the embedder, which answers at once or never."""
THRESHOLDS = Thresholds(similarity=0.3, coverage=0.6)


@dataclass
class World:
    """The use cases and what they work with."""

    catalogue: FakeCatalogue = field(default_factory=FakeCatalogue)
    index: FakeIndex = field(default_factory=FakeIndex)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    generator: FakeGenerator = field(default_factory=FakeGenerator)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.search = SearchPassages(self.catalogue, self.index, self.embedder, embedding_timeout_s=SOON_S)
        self.ingest = IngestDocument(
            self.catalogue,
            self.index,
            self.embedder,
            parse_content,
            FakeTokenizer(),
            IngestLimits(passage_tokens=20, max_passages=20, batch_passages=2),
            new_id=lambda: f"version-{next(numbers)}",
            now_s=lambda: self.catalogue.now_s,
        )
        self.answer = AnswerQuestion(
            self.search, self.generator, FakeTokenizer(), words_of, AnswerLimits(2000, THRESHOLDS)
        )
        self.sweep = Sweep(self.catalogue, self.index)

    async def with_collection(self) -> World:
        """Itself, with an empty collection."""
        await self.catalogue.create_collection(TENANT, COLLECTION, "", NO_ID)
        return self

    async def put(
        self, document_id: str, text: str, *, title: str = "", request: RequestKey = NO_ID, tenant: str = TENANT
    ) -> Ingested:
        """Ingests Markdown."""
        content = Content(MediaType.MARKDOWN, text.encode(), title, "file:///x")
        return await self.ingest(tenant, COLLECTION, document_id, content, request)

    async def found(self, query: str, top_k: int = 5) -> list[str]:
        """Ids of the documents found, best first."""
        found = await self.search(TENANT, COLLECTION, query, top_k)
        return [hit.passage.document_id for hit in found.hits]

    async def ask(self, text: str, *history: Turn, top_k: int = 5) -> list[AnswerEvent]:
        """All events of an answer."""
        return [event async for event in self.answer(TENANT, question(text, history, top_k))]


def question(text: str, history: Sequence[Turn] = (), top_k: int = 5) -> Question:
    """A question to the collection."""
    return Question(COLLECTION, text, tuple(history), top_k, 100, "")
