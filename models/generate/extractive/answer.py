"""From a prompt to the text of its answer."""

import re
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from .prompt import Prompt, Source
from .selection import Unit, Vectors, quotable_units, select

NOT_FOUND = "Not found in the sources."
NO_SOURCES = (
    "I am an extractive model: I can only quote from sources that the prompt lists under `Sources:`, and it lists none."
)

_OWN_LINE = re.compile(r"\s|[-*+•] |\d+[.)] ")

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


async def answer(prompt: Prompt, embed: Embed) -> str:
    """Sentences of the sources that bear on the question, each followed by ` [n]`, the number of its source.

    `NOT_FOUND` if none does, `NO_SOURCES` if there are no sources. `embed` gives one unit vector a text. A question
    that follows an earlier one is read together with it.
    """
    if not prompt.sources:
        return NO_SOURCES
    units = quotable_units(prompt.sources, prompt.question)
    questions = (
        [prompt.question, f"{prompt.asked_before} {prompt.question}"] if prompt.asked_before else [prompt.question]
    )
    headings = [source.heading for source in prompt.sources]
    vectors = await embed([*questions, *headings, *(unit.text for unit in units)])
    asked = vectors[: len(questions)].mean(axis=0)
    asked /= max(float(np.linalg.norm(asked)), 1e-9)
    of_headings, of_units = np.split(vectors[len(questions) :], [len(headings)])
    chosen = select(units, prompt.sources, prompt.question, asked, of_units, of_headings)
    return compose(chosen, prompt.sources) or NOT_FOUND


def compose(units: Sequence[Unit], sources: Sequence[Source]) -> str:
    """The units with their citations: sentences follow each other, blocks stand on lines of their own."""
    text = ""
    after_block = False
    for unit in units:
        is_block = "\n" in unit.text or bool(_OWN_LINE.match(unit.text))
        if text:
            text += "\n" if is_block or after_block else " "
        citation = f"[{sources[unit.source].number}]"
        text += f"{unit.text}\n{citation}" if "\n" in unit.text else f"{unit.text} {citation}"
        after_block = is_block
    return text
