"""Chooses what to quote. The similarities come from the embed model; everything else is decided here.

The weights were chosen on 45 questions of a public FAQ, each with the right passage among the five shown: 37 are
answered from it first, and 34 if the passages are shuffled. By words alone (BM25 over sentences) it would be 25.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .prompt import Source
from .sentences import split_passage

MAX_UNITS = 256  # of a longer prompt the units that share most words with the question are considered
MAX_QUOTED = 4
MAX_CHARACTERS = 1_500  # of quotes after the first, which is never left out for its length
PASSAGE_WEIGHT = 0.5  # how much a sentence's passage counts against the sentence itself
WORDS_WEIGHT = 0.1  # for naming all words of the question: exact names, which vectors blur
ORDER_WEIGHT = 0.02  # for each place further down in the prompt: what is shown first was found to fit best
NEEDS_CONTEXT = 0.05  # for a sentence that points to one before it
NO_ANSWER = 0.2  # for a sentence that itself asks
WITHIN_BEST = 0.12  # what scores lower than the best by more than this is not quoted beside it
BEARS_ON_QUESTION = 0.35  # cosine of question and sentence below which nothing has been found
SAME = 0.93  # cosine above which two units say the same

_POINTS_BACK = re.compile(
    r"(?:it|its|this|that|these|those|they|he|she|but|so|thus|however|therefore|also|and)\b", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_COMMON = frozenset(
    _WORD.findall(
        "a an and any are as at be been but by can could did do does for from had has have how i if in into is it its"
        " may me might my no not of on or our shall should so some such than that the their them then there these they"
        " this those to too was we were what when where which who whom whose why will with would you your"
    )
)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Unit:
    """A sentence, list item or block of the source with that index, and its place in it."""

    source: int
    place: int
    text: str


def quotable_units(sources: Sequence[Source], question: str) -> list[Unit]:
    """All units of all sources in order, at most `MAX_UNITS`."""
    units = [
        Unit(index, place, text)
        for index, source in enumerate(sources)
        for place, text in enumerate(split_passage(source.text))
    ]
    if len(units) <= MAX_UNITS:
        return units
    asked = _words(question)
    kept = sorted(range(len(units)), key=lambda at: (-len(asked & _words(units[at].text)), at))[:MAX_UNITS]
    return [units[at] for at in sorted(kept)]


def select(
    units: Sequence[Unit], sources: Sequence[Source], question: str, asked: Vectors, vectors: Vectors, headings: Vectors
) -> list[Unit]:
    """What to quote, in the order to quote it; [] if nothing bears on the question.

    `asked` is the question's vector, `vectors` those of the units, `headings` those of the sources' headings, all of
    length 1. Sources come in the order of their best unit, the units of one source in its own order.
    """
    if not units:
        return []
    similarity = vectors @ asked
    scores = _scores(units, sources, question, similarity, vectors, asked, headings)
    if similarity.max() < BEARS_ON_QUESTION:
        return []
    chosen: list[int] = []
    characters = 0
    for at in map(int, np.argsort(-scores, kind="stable")):
        if len(chosen) == MAX_QUOTED or (chosen and scores[at] < scores[chosen[0]] - WITHIN_BEST):
            break
        repeats = any(float(vectors[at] @ vectors[other]) > SAME for other in chosen)
        too_long = chosen and characters + len(units[at].text) > MAX_CHARACTERS
        if similarity[at] >= BEARS_ON_QUESTION and not repeats and not too_long:
            characters += len(units[at].text) if chosen else 0
            chosen.append(at)
    first_use = {source: rank for rank, source in reversed(list(enumerate(units[at].source for at in chosen)))}
    return sorted((units[at] for at in chosen), key=lambda unit: (first_use[unit.source], unit.place))


def _scores(
    units: Sequence[Unit],
    sources: Sequence[Source],
    question: str,
    similarity: Vectors,
    vectors: Vectors,
    asked: Vectors,
    headings: Vectors,
) -> Vectors:
    owner = np.array([unit.source for unit in units])
    passages = np.full(len(sources), -1.0, np.float32)
    for source in set(owner.tolist()):
        centre = vectors[owner == source].mean(axis=0)
        passages[source] = centre @ asked / max(float(np.linalg.norm(centre)), 1e-9)
        if sources[source].heading:
            passages[source] = max(passages[source], headings[source] @ asked)
    words = _words(question)
    named = [len(words & _words(unit.text)) / max(1, len(words)) for unit in units]
    against = [_drawbacks(unit) for unit in units]
    scores: Vectors = (1 - PASSAGE_WEIGHT) * similarity + PASSAGE_WEIGHT * passages[owner]
    scores += WORDS_WEIGHT * np.array(named, np.float32) - ORDER_WEIGHT * owner - np.array(against, np.float32)
    return scores


def _drawbacks(unit: Unit) -> float:
    points_back = unit.place > 0 and bool(_POINTS_BACK.match(unit.text))
    return NEEDS_CONTEXT * points_back + NO_ANSWER * unit.text.endswith(("?", ":"))


def _words(text: str) -> set[str]:
    """The text's words without the commonest, endings that English words change cut off."""
    return {_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON}


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "edly", "ed", "ies", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and (word[-1] in "ey" or word[-1] == word[-2]) else word
