import re
import zlib
from collections.abc import Sequence

import numpy as np

from models.generate.extractive.answer import NO_SOURCES, NOT_FOUND, answer
from models.generate.extractive.prompt import Prompt, Source
from models.generate.extractive.selection import MAX_QUOTED, MAX_UNITS, Vectors, quotable_units
from models.generate.extractive.vectors import RememberedVectors

TOPICS = ("dog", "cat", "sheep", "ship")


async def by_topic(texts: Sequence[str]) -> Vectors:
    """Unit vectors by the topics that a text names, and a little by its other words: a test says what is similar."""
    return np.array([_by_topic(text) for text in texts], np.float32)


def _by_topic(text: str) -> Vectors:
    words = set(re.findall(r"[a-z]{4,}|dog|cat", text.lower()))
    vector = np.array([topic in words for topic in TOPICS] + [0.0] * 256, np.float32)
    for word in words.difference(TOPICS):
        vector[len(TOPICS) + zlib.crc32(word.encode()) % 256] += 0.6
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def passages(*texts: str) -> tuple[Source, ...]:
    return tuple(Source(number, "", text) for number, text in enumerate(texts, start=1))


async def test_the_sentence_that_fits_is_quoted_with_its_source() -> None:
    """The answer is the fitting sentence as it stands and the number of the source that has it."""
    sources = passages("A cat sleeps. A ship sails.", "A dog barks. Nothing else.")
    assert await answer(Prompt("What does a dog do?", "", sources), by_topic) == "A dog barks. [2]"


async def test_several_sentences_keep_the_order_of_their_source() -> None:
    """The best source comes first, its sentences in their own order, each with its citation."""
    sources = passages("The dog barks. A ship sails. The dog bites.", "The dog sleeps.")
    text = await answer(Prompt("dog", "", sources), by_topic)
    assert text == "The dog sleeps. [2] The dog barks. [1] The dog bites. [1]"


async def test_what_is_said_twice_is_quoted_once() -> None:
    """A sentence that repeats one already chosen is left out."""
    sources = passages("The dog barks.", "The dog barks.")
    assert await answer(Prompt("dog", "", sources), by_topic) == "The dog barks. [1]"


async def test_nothing_fits() -> None:
    """If no sentence bears on the question the answer says so and cites nothing."""
    assert await answer(Prompt("dog", "", passages("A ship sails. A cat sleeps.")), by_topic) == NOT_FOUND
    assert await answer(Prompt("dog", "", passages("")), by_topic) == NOT_FOUND


async def test_without_sources_it_says_what_it_is() -> None:
    """A plain chat prompt gets one honest sentence."""
    assert await answer(Prompt("Hello", "", ()), by_topic) == NO_SOURCES


async def test_code_stands_on_its_own_lines() -> None:
    """A block is quoted whole, its citation below it."""
    sources = passages("Call the dog::\n\n    dog()\n    dog()\n\nThe dog barks.")
    text = await answer(Prompt("dog", "", sources), by_topic)
    assert "Call the dog:\n    dog()\n    dog()\n[1]" in text


async def test_a_follow_up_is_read_with_the_question_before() -> None:
    """A question without a subject is about that of the question before it."""
    sources = passages("A cat sleeps all day.", "A dog sleeps at night.")
    assert (await answer(Prompt("And at night?", "What about a dog?", sources), by_topic)).endswith("[2]")


async def test_answers_are_short() -> None:
    """However much fits, only a few sentences are quoted."""
    text = " ".join(
        f"The dog {word} {'well ' * at}." for at, word in enumerate(("sits", "runs", "eats", "digs", "naps", "hums"))
    )
    counted = (await answer(Prompt("dog", "", passages(text)), by_topic)).count("[1]")
    assert 1 < counted <= MAX_QUOTED


def test_a_huge_prompt_is_cut_to_what_shares_words() -> None:
    """Of more units than are looked at those that share words with the question are kept, in their order."""
    filler = " ".join(f"Sentence {number} is filler." for number in range(MAX_UNITS))
    units = quotable_units(passages(filler + " The walrus waits.", filler), "Where is the walrus?")
    assert len(units) == MAX_UNITS
    assert any("walrus" in unit.text for unit in units)
    assert [(unit.source, unit.place) for unit in units] == sorted((unit.source, unit.place) for unit in units)


async def test_vectors_are_asked_for_once() -> None:
    """Only texts not seen lately are embedded, each once, in batches; the answer's order is the question's."""
    asked: list[list[str]] = []

    async def embed(texts: Sequence[str]) -> Vectors:
        asked.append(list(texts))
        return await by_topic(texts)

    remembered = RememberedVectors(embed, capacity=3, batch=2)
    np.testing.assert_array_equal(
        await remembered(["dog", "cat", "dog", "ship"]), await by_topic(["dog", "cat", "dog", "ship"])
    )
    await remembered(["ship", "dog"])
    await remembered(["sheep"])
    await remembered(["cat"])
    assert asked == [["dog", "cat"], ["ship"], ["sheep"], ["cat"]]
