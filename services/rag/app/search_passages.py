"""Finds the passages of a collection that fit a query best."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.errors.errors import UnavailableError
from services.rag.app.degraded import VECTORS, degraded
from services.rag.domain.documents import Collection, Engine, Hit
from services.rag.domain.ranking import by_score
from services.rag.ports import Catalogue, CurrentVersions, Embedded, Embedder, PassageIndex, Query, Scope

_MAX_ROUNDS = 6
_MAX_FETCHED = 1000
_GROWTH = 3
"""Each further round fetches so many times more: a document that changes often leaves much behind until the sweep."""
_SPARE = 10
"""Fetched beyond what is asked for, in case that hits are of versions that are no longer current."""


@dataclass(frozen=True)
class Found:
    """What a search found, best first. `generation`: the collection's when the search began.

    `may_be_kept`: the same search finds the same, while the collection's generation and the version of the embedding
    model are what they are, and both are told.
    """

    hits: tuple[Hit, ...]
    generation: int
    input_tokens: int
    lexical_only: bool
    may_be_kept: bool


class SearchPassages:
    """Searches by meaning and by words. Where the query cannot be embedded, or not in time, by words alone.

    Documents that an engine other than the embedder's embedded are not found until they are ingested again.
    """

    def __init__(
        self, catalogue: Catalogue, index: PassageIndex, embedder: Embedder, *, embedding_timeout_s: float
    ) -> None:
        self._catalogue = catalogue
        self._index = index
        self._embedder = embedder
        self._embedding_timeout_s = embedding_timeout_s

    async def __call__(self, tenant: str, collection: str, query: str, top_k: int) -> Found:
        """The best `top_k` passages for one query; ties by document id and position."""
        (found,) = await self.each(tenant, collection, [query], top_k)
        return found

    async def each(self, tenant: str, collection: str, queries: Sequence[str], top_k: int) -> list[Found]:
        """What is found for each of several queries; they are embedded together, and the first one bears what that
        cost."""
        known = await self._catalogue.collection(tenant, collection)
        embedded = await self._embed(queries)
        engine = known.engine if embedded is None else embedded.engine
        may_be_kept = embedded is not None and embedded.is_stamped
        found = []
        for number, text in enumerate(queries):
            vector = None if embedded is None else embedded.vectors[number]
            hits = await self._current_hits(tenant, known, engine, Query(text, vector), top_k) if engine else []
            cost = embedded.input_tokens if embedded is not None and number == 0 else 0
            found.append(Found(tuple(hits), known.generation, cost, embedded is None, may_be_kept))
        return found

    async def _embed(self, queries: Sequence[str]) -> Embedded | None:
        try:
            async with asyncio.timeout(self._embedding_timeout_s):
                return await self._embedder.embed(queries)
        except UnavailableError as error:
            degraded(VECTORS, error.reason.value)
        except TimeoutError:
            degraded(VECTORS, "it took too long")
        return None

    async def _current_hits(
        self, tenant: str, collection: Collection, engine: Engine, query: Query, top_k: int
    ) -> list[Hit]:
        """Only hits whose version is current after the index was asked, so none that was deleted or replaced before.

        Asks again, without the versions that are not current, while these leave it short, or one of their documents has
        been replaced meanwhile: the new version's passages may have come too late for the last answer.
        """
        scope = Scope(tenant, collection.uid)
        generation = collection.generation
        stale: dict[str, str] = {}
        hits: list[Hit] = []
        for turn in range(_MAX_ROUNDS):
            limit = min((top_k + _SPARE) * _GROWTH**turn, _MAX_FETCHED)
            answer = await self._index.search(scope, engine, query, limit=limit, without=stale)
            seen = stale | {hit.passage.version_id: hit.passage.document_id for hit in answer}
            current = await self._catalogue.current_versions(tenant, collection, sorted(set(seen.values())))
            # A version that was not current yet may be current by now: it is stale no more.
            stale = {
                version: document for version, document in seen.items() if current.versions.get(document) != version
            }
            hits = [hit for hit in answer if hit.passage.version_id not in stale]
            is_short = len(hits) < min(top_k, len(answer)) and len(answer) == limit
            if not is_short and (current.generation == generation or not _is_one_missing(stale, current, hits)):
                break
            generation = current.generation
        return by_score(hits)[:top_k]


def _is_one_missing(stale: Mapping[str, str], current: CurrentVersions, hits: Sequence[Hit]) -> bool:
    """Whether a document with a stale version has a current one that no hit is of."""
    found = {hit.passage.version_id for hit in hits}
    return any(current.versions.get(document, "") not in ("", *found) for document in stale.values())
