"""How `weft ask` shows an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tools.cli.content_ask import BUDGET, NOT_FOUND, PASSAGES_ONLY, _print_answer
from weft.rag.v1 import answer_service_pb2 as pb
from weft.rag.v1 import passage_pb2

PASSAGE = passage_pb2.Passage(
    title="Whales\x1b[2J", headings=["Size"], text="Blue  whales\nare large.", source_uri="a.md"
)


async def events(*messages: pb.StreamAnswerResponse) -> AsyncIterator[pb.StreamAnswerResponse]:
    for message in messages:
        yield message


async def test_an_answer_lists_what_it_cites(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, then the cited sources; what could steer a terminal is shown as a replacement character."""
    await _print_answer(
        events(
            pb.StreamAnswerResponse(passages=pb.AnswerPassages(passages=[PASSAGE, PASSAGE])),
            pb.StreamAnswerResponse(delta=pb.AnswerDelta(text="Large\x1b[31m. [2]")),
            pb.StreamAnswerResponse(citation=pb.Citation(number=2)),
            pb.StreamAnswerResponse(done=pb.AnswerDone(outcome=pb.ANSWER_OUTCOME_ANSWERED)),
        )
    )
    assert capsys.readouterr().out == (
        "Large\ufffd[31m. [2]\n\nSources:\n[2] Whales\ufffd[2J > Size (a.md)\n    Blue whales are large.\n"
    )


async def test_what_is_not_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No text and no sources: one honest line."""
    await _print_answer(
        events(
            pb.StreamAnswerResponse(passages=pb.AnswerPassages()),
            pb.StreamAnswerResponse(done=pb.AnswerDone(outcome=pb.ANSWER_OUTCOME_NOT_FOUND)),
        )
    )
    assert capsys.readouterr().out == f"{NOT_FOUND}\n"


async def test_passages_without_an_answer_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, after a line that says why there is nothing else."""
    await _print_answer(
        events(
            pb.StreamAnswerResponse(passages=pb.AnswerPassages(passages=[PASSAGE])),
            pb.StreamAnswerResponse(done=pb.AnswerDone(outcome=pb.ANSWER_OUTCOME_PASSAGES_ONLY)),
        )
    )
    assert capsys.readouterr().out == (
        f"{PASSAGES_ONLY}\n[1] Whales\ufffd[2J > Size (a.md)\n    Blue whales are large.\n"
    )


async def test_an_answer_that_a_budget_cut_or_a_fallback_wrote_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the text, each in a line."""
    done = pb.AnswerDone(outcome=pb.ANSWER_OUTCOME_BUDGET, model="small-v1", fallback_for="large-v1")
    outcome = await _print_answer(
        events(
            pb.StreamAnswerResponse(passages=pb.AnswerPassages(passages=[PASSAGE])),
            pb.StreamAnswerResponse(delta=pb.AnswerDelta(text="Large")),
            pb.StreamAnswerResponse(done=done),
        )
    )
    assert outcome == pb.ANSWER_OUTCOME_BUDGET
    assert capsys.readouterr().out == f"Large\n{BUDGET}\n(Written by small-v1, because large-v1 could not.)\n"
