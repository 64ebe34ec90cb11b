"""Decides whether what a search found can answer a question at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """What speaks for an answer.

    `similarity`: the best cosine of a found passage and the question, None where vectors were not used.
    `coverage`: the share of the question's words (0 to 1) that the found passage with the most of them has; 1 for a
    question that has no words that count.
    """

    similarity: float | None
    coverage: float


@dataclass(frozen=True)
class Thresholds:
    """From which evidence on a question counts as answerable: by similarity, and where there is none, by coverage."""

    similarity: float
    coverage: float


def weigh(
    question: Collection[int], passages: Sequence[Collection[int]], similarities: Sequence[float | None]
) -> Evidence:
    """The evidence that passages with these words (as term ids) and similarities are for a question with those
    words."""
    known = [similarity for similarity in similarities if similarity is not None]
    return Evidence(max(known) if known else None, coverage(question, passages))


def coverage(question: Collection[int], passages: Sequence[Collection[int]]) -> float:
    """The share of the question's words that the passage with the most of them has; 1 where the question has none."""
    if not question:
        return 1.0
    wanted = frozenset(question)
    return max((len(wanted.intersection(passage)) for passage in passages), default=0) / len(wanted)


def is_answerable(evidence: Evidence, thresholds: Thresholds) -> bool:
    """Whether the evidence is enough to let the model answer."""
    if evidence.similarity is None:
        return evidence.coverage >= thresholds.coverage
    return evidence.similarity >= thresholds.similarity
