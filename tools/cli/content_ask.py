"""Behind `weft ask`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from tools.cli.calling import run_call
from tools.cli.gateway import Access
from weft.rag.v1 import answer_service_pb2, passage_pb2

Events = AsyncIterable[answer_service_pb2.StreamAnswerResponse]

EXCERPT_CHARACTERS = 160
NOT_FOUND = "Not found in this collection."
BUDGET = "(The answer ends here: nothing is left of the budget.)"
PASSAGES_ONLY = "No answer can be written right now. What was found:"
LEXICAL_ONLY = "(The question could not be embedded: passages were found by their words alone.)"


def run_ask(
    question: str, collection: str, state: Path, address: str | None, token_file: Path | None, *, as_json: bool
) -> int:
    """Answers the exit code: 1 too where the budget ended before the answer did."""

    async def call(access: Access) -> int:
        request = answer_service_pb2.StreamAnswerRequest(
            question=answer_service_pb2.Question(collection=collection, text=question)
        )
        async with access.connect() as client:
            stream = client.answers.StreamAnswer(request)
            outcome = await (_print_json(stream) if as_json else _print_answer(stream))
        return int(outcome == answer_service_pb2.ANSWER_OUTCOME_BUDGET)

    return run_call(call, state, address, token_file)


async def _print_json(stream: Events) -> int:
    outcome = 0
    async for message in stream:
        outcome = message.done.outcome or outcome
        fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        print(json.dumps(fields, ensure_ascii=False), flush=True)
    return outcome


async def _print_answer(stream: Events) -> int:
    outcome = 0
    passages: Sequence[passage_pb2.Passage] = ()
    cited: set[int] = set()
    async for message in stream:
        event = message.WhichOneof("event")
        if event == "passages":
            passages = message.passages.passages
            if message.passages.degradation == passage_pb2.DEGRADATION_LEXICAL_ONLY:
                print(LEXICAL_ONLY)
        elif event == "delta":
            print(_shown(message.delta.text), end="", flush=True)
        elif event == "citation":
            cited.add(message.citation.number)
        elif event == "done":
            outcome = message.done.outcome
            _print_end(message.done, passages, sorted(cited))
    return outcome


def _print_end(
    done: answer_service_pb2.AnswerDone, passages: Sequence[passage_pb2.Passage], cited: Sequence[int]
) -> None:
    if done.outcome == answer_service_pb2.ANSWER_OUTCOME_NOT_FOUND:
        print(NOT_FOUND)
        return
    if done.outcome == answer_service_pb2.ANSWER_OUTCOME_PASSAGES_ONLY:
        print(PASSAGES_ONLY)
        _print_passages(passages, range(1, len(passages) + 1))
        return
    print(" ..." if done.outcome == answer_service_pb2.ANSWER_OUTCOME_LENGTH else "")
    if done.outcome == answer_service_pb2.ANSWER_OUTCOME_BUDGET:
        print(BUDGET)
    if done.fallback_for:
        print(_shown(f"(Written by {done.model}, because {done.fallback_for} could not.)"))
    if cited:
        print("\nSources:")
        _print_passages(passages, cited)


def _print_passages(passages: Sequence[passage_pb2.Passage], numbers: Iterable[int]) -> None:
    for number in numbers:
        passage = passages[number - 1]
        place = " > ".join([passage.title, *(heading for heading in passage.headings if heading != passage.title)])
        print(_shown(f"[{number}] {place}" + (f" ({passage.source_uri})" if passage.source_uri else "")))
        print(f"    {_shown(_excerpt(passage.text))}")


def _shown(text: str) -> str:
    """`text` without what a document could steer a terminal with."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _excerpt(text: str) -> str:
    """The beginning of a passage, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 4].rsplit(" ", 1)[0] + " ..."
