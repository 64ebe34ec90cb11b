"""Words as the engine's BM25 sees them: split as in code (`getMTime` is get, m, time and the whole), stemmed, no stop
words."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_edge import Bm25, Bm25Config, TokenizerType

_AVERAGE_PASSAGE_TERMS = 60.0
"""BM25 scales a word's weight by a passage's length against this: about what a full passage has."""


@dataclass(frozen=True)
class SparseVector:
    """Term ids and their weights."""

    indices: list[int]
    values: list[float]


class Bm25Terms:
    """The port Terms, and the sparse vectors of passages and queries."""

    def __init__(self) -> None:
        self._bm25 = Bm25(Bm25Config(tokenizer=TokenizerType.Code, avg_len=_AVERAGE_PASSAGE_TERMS))

    def __call__(self, text: str) -> frozenset[int]:
        return frozenset(self._bm25.embed_query(text).indices)

    def of_passage(self, text: str) -> SparseVector:
        """The weights by which a passage's words count."""
        vector = self._bm25.embed_document(text)
        return SparseVector(list(vector.indices), list(vector.values))

    def of_query(self, text: str) -> SparseVector:
        """Each word of the query once, with weight 1."""
        vector = self._bm25.embed_query(text)
        return SparseVector(list(vector.indices), list(vector.values))
