"""How honestly questions are answered that the collection does, and does not, answer."""

from __future__ import annotations

from collections import defaultdict

import weft.client
from libs.testing.pyfaq import held_out
from tests.quality.conftest import COLLECTION
from weft.rag.v1 import answer_service_pb2

LEAST_ANSWERED = 0.88
LEAST_REFUSED = 0.92


async def test_what_is_not_in_the_collection_is_not_answered(faq: weft.client.Client) -> None:
    """Of questions on which nothing was chosen, 88% of the answerable are answered and 92% of the others are not."""
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for asked in held_out():
        question = answer_service_pb2.Question(collection=COLLECTION, text=asked.text)
        answer = await faq.answers.Answer(answer_service_pb2.AnswerRequest(question=question))
        if answer.outcome == answer_service_pb2.ANSWER_OUTCOME_NOT_FOUND:
            assert (answer.text, list(answer.citations)) == ("", [])
        else:
            assert answer.citations, f"an answer without a citation to {asked.text!r}: {answer.text!r}"
        right[asked.kind].append((answer.outcome != answer_service_pb2.ANSWER_OUTCOME_NOT_FOUND) == bool(asked.gold))
    refused = [each for kind in ("near", "general", "absurd") for each in right[kind]]
    answered = right["faq"]
    print("held-out questions told right:", ", ".join(f"{kind} {sum(v)}/{len(v)}" for kind, v in right.items()))
    assert sum(answered) / len(answered) >= LEAST_ANSWERED
    assert sum(refused) / len(refused) >= LEAST_REFUSED
