"""Merges and orders what searches found."""

from __future__ import annotations

from collections.abc import Sequence

from services.rag.domain.documents import Hit


def by_score(hits: Sequence[Hit]) -> list[Hit]:
    """Best first; ties by document id and position."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage.document_id, hit.passage.position))


def fuse(rankings: Sequence[Sequence[Hit]], *, damping: int = 60) -> list[Hit]:
    """Merges rankings of different queries by reciprocal rank (Cormack et al., SIGIR 2009), best first.

    A hit of several rankings keeps its best similarity. Ties go to the ranking that is given first.
    """
    scores: dict[tuple[str, int], float] = {}
    found: dict[tuple[str, int], Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            scores[hit.key] = scores.get(hit.key, 0.0) + 1 / (damping + rank)
            known = found.get(hit.key)
            if known is None or (hit.similarity or -1.0) > (known.similarity or -1.0):
                found[hit.key] = hit
    fused = [Hit(hit.passage, scores[key], hit.similarity) for key, hit in found.items()]
    return sorted(fused, key=lambda hit: -hit.score)
