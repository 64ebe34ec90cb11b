"""Reads a prompt as a language model is given it: ChatML turns; the last user turn names sources and a question."""

import re
from dataclasses import dataclass

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_HEADER = re.compile(r"(?:\A|\n[ \t]*\n)\[(\d+)\][ \t]*([^\n]*)\n")


@dataclass(frozen=True)
class Source:
    """A numbered passage; `heading` is "" where the prompt gives none."""

    number: int
    heading: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """What is asked now, what the user asked just before ("" if nothing), and the sources to answer from."""

    question: str
    asked_before: str
    sources: tuple[Source, ...]


def parse_prompt(text: str) -> Prompt:
    """Never fails: text without ChatML is one user turn, a turn without `Sources:` has no sources.

    The question is what follows the last line that starts with `Question:`. A source starts with `[n] heading` after an
    empty line, and only with the number that is next, so that a bracketed number inside a passage starts none.
    """
    turns = [match.group(2) for match in _TURN.finditer(text) if match.group(1) == "user"] or [text]
    question, sources = _read_turn(turns[-1])
    before, _ = _read_turn(turns[-2]) if len(turns) > 1 else ("", ())
    return Prompt(question, before, sources)


def _read_turn(turn: str) -> tuple[str, tuple[Source, ...]]:
    start = re.search(r"^Sources:[ \t]*\n", turn, re.MULTILINE)
    questions = list(re.finditer(r"^Question:", turn, re.MULTILINE))
    if not start:
        return (turn[questions[-1].end() :] if questions else turn).strip(), ()
    end = questions[-1].start() if questions and questions[-1].start() >= start.end() else len(turn)
    question = turn[end:].removeprefix("Question:").strip()
    return question, tuple(_read_sources(turn[start.end() : end]))


def _read_sources(text: str) -> list[Source]:
    headers: list[re.Match[str]] = []
    for match in _HEADER.finditer(text):
        if int(match.group(1)) == len(headers) + 1:
            headers.append(match)
    ends = [*(match.start() for match in headers[1:]), len(text)][: len(headers)]
    return [
        Source(number, match.group(2).strip(), text[match.end() : end].strip("\n"))
        for number, (match, end) in enumerate(zip(headers, ends, strict=True), start=1)
    ]
