"""How `weft ask` shows an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tools.cli.content_ask import NOT_FOUND, _print_answer
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
