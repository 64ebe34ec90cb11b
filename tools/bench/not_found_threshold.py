"""From which evidence on a question is answered: `python -m tools.bench.not_found_threshold`.

Starts a stack of its own, ingests the passages of Python's FAQ and tutorial, searches for every question, and chooses
the two thresholds on one half of the questions: the highest at which as much of the answerable and of the unanswerable
is told right as anywhere. Prints the choice, and what it does to the other half, as Markdown. Coverage is that of the
passages that the whole search found: what words alone find covers no less.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from qdrant_edge import Bm25, Bm25Config, TokenizerType

import weft.client
from libs.testing import pyfaq
from tools.stack import parts
from tools.stack.bringup import bring_up
from tools.stack.part import Stack, load_declaration
from tools.stack.snapshot import Snapshot
from tools.stack.tokens import all_scopes, stack_token
from weft.rag.v1 import collection_service_pb2, document_pb2, document_service_pb2, search_service_pb2

COLLECTION = "pyfaq"
EVIDENCE_DEPTH = 5
KINDS = ("faq", "near", "general", "absurd")


@dataclass(frozen=True)
class Weighed:
    """A question, and what speaks for an answer: what rag too decides by.

    `similarity`: that of the best passage. `coverage`: the share of the question's words that one passage has, at most.
    """

    asked: pyfaq.Asked
    similarity: float
    coverage: float


Measure = Callable[[Weighed], float]


def choose(questions: Sequence[Weighed], measure: Measure) -> float:
    """The highest threshold with the best mean of answered answerable and refused unanswerable questions."""
    values = sorted({measure(question) for question in questions})
    return max(values, key=lambda value: (sum(shares(questions, measure, value)), value))


def shares(questions: Sequence[Weighed], measure: Measure, threshold: float) -> tuple[float, float]:
    """The answered share of what is answerable, and the refused share of what is not."""
    answered = [measure(each) >= threshold for each in questions if each.asked.gold]
    refused = [measure(each) < threshold for each in questions if not each.asked.gold]
    return sum(answered) / len(answered), sum(refused) / len(refused)


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        ports = {part.name: "0" for part in load_declaration(parts.__name__).parts}
        launched = bring_up(Path(folder), parts.__name__, _Silent(), ports=ports)
        try:
            chosen_on, tested_on = asyncio.run(_measure(launched.stack))
        finally:
            launched.stop()
    print("# From which evidence on a question is answered\n")
    print(
        "`python -m tools.bench.not_found_threshold`; 643 passages, all-MiniLM-L6-v2. Answerable: 25 + 25 questions of"
    )
    print(
        "Python's FAQ; unanswerable: 36 + 36, a third each about the world, other languages and tools, and nonsense.\n"
    )
    for name, measure in (
        ("similarity", attrgetter("similarity")),
        ("coverage (without vectors)", attrgetter("coverage")),
    ):
        _print(name, measure, chosen_on, tested_on)


async def _measure(stack: Stack) -> tuple[list[Weighed], list[Weighed]]:
    token = stack_token(stack.folder("keys"), subject="bench", tenant="bench", scopes=all_scopes(), ttl_s=3600)
    async with weft.client.connect(stack.entry, token=token) as client:
        await _ingest(client)
        words = Bm25(Bm25Config(tokenizer=TokenizerType.Code))
        chosen_on = [await _weigh(client, words, asked) for asked in pyfaq.calibration()]
        tested_on = [await _weigh(client, words, asked) for asked in pyfaq.held_out()]
        return chosen_on, tested_on


async def _ingest(client: weft.client.Client) -> None:
    await client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=COLLECTION))
    for document_id, text in pyfaq.documents().items():
        await client.documents.IngestDocument(
            document_service_pb2.IngestDocumentRequest(
                collection=COLLECTION,
                document_id=document_id,
                media_type=document_pb2.MEDIA_TYPE_PLAIN,
                content=text.encode(),
            )
        )


async def _weigh(client: weft.client.Client, words: Bm25, asked: pyfaq.Asked) -> Weighed:
    request = search_service_pb2.SearchRequest(collection=COLLECTION, query=asked.text, top_k=EVIDENCE_DEPTH)
    passages = (await client.search.Search(request)).passages
    wanted = set(words.embed_query(asked.text).indices)
    shared = [len(wanted & set(words.embed_query(each.text).indices)) for each in passages]
    similarity = max((each.similarity for each in passages if each.HasField("similarity")), default=-1.0)
    return Weighed(asked, similarity, max(shared, default=0) / len(wanted) if wanted else 1.0)


def _print(name: str, measure: Measure, chosen_on: Sequence[Weighed], tested_on: Sequence[Weighed]) -> None:
    threshold = choose(chosen_on, measure)
    print(f"## {name}: {threshold:.3f}\n")
    print("| questions | answerable: answered | unanswerable: refused |\n|---|---|---|")
    for half, questions in (("chosen on", chosen_on), ("held out", tested_on)):
        answered, refused = shares(questions, measure, threshold)
        print(f"| {half} | {answered:.2f} | {refused:.2f} |")
    print("\n| kind | least | median | most |\n|---|---|---|---|")
    for kind in KINDS:
        values = sorted(measure(each) for each in (*chosen_on, *tested_on) if each.asked.kind == kind)
        print(f"| {kind} | {values[0]:.2f} | {values[len(values) // 2]:.2f} | {values[-1]:.2f} |")
    print()


class _Silent:
    """Only the result is of interest."""

    def step(self, step: str, done: float) -> None:
        """Nothing."""

    def parts(self, snapshot: Snapshot) -> None:
        """Nothing."""


if __name__ == "__main__":
    main()
