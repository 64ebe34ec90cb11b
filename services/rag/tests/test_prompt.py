"""What the model is told."""

from __future__ import annotations

import pytest

from libs.errors.errors import InvalidArgumentError, Reason
from services.rag.domain.documents import Passage
from services.rag.domain.prompt import INSTRUCTIONS, Prompt, Role, Turn, build_prompt

QUESTION = "How fast is it?"


def passage(text: str, *, title: str = "Guide", headings: tuple[str, ...] = ()) -> Passage:
    """A passage with this text."""
    return Passage("d", "v", 0, title, "", headings, text, 0, len(text))


def prompt(passages: list[Passage], history: list[Turn] | None = None, *, window: int = 1000) -> Prompt:
    """The prompt where each word is a token."""
    return build_prompt(
        QUESTION, history or [], passages, count_tokens=lambda text: len(text.split()), window_tokens=window
    )


def test_sources_and_question_have_their_form() -> None:
    """Instructions, then the numbered sources under their path, then the question, on one line."""
    made = prompt([passage("First [2].", headings=("Guide", "Speed")), passage("Second")])
    assert made.shown == 2
    assert made.turns == (
        Turn(Role.SYSTEM, INSTRUCTIONS),
        Turn(
            Role.USER,
            "Sources:\n[1] Guide > Speed\nFirst [ 2 ].\n\n[2] Guide\nSecond\n\nQuestion: How fast is it?",
        ),
    )


def test_history_stands_between_without_its_markers() -> None:
    """What was said before comes in order; markers in answers cite what is no longer shown, and go."""
    history = [Turn(Role.USER, "What [1] is it?"), Turn(Role.ASSISTANT, "A snake [1].")]
    made = prompt([passage("x")], history)
    assert made.turns[1:3] == (history[0], Turn(Role.ASSISTANT, "A snake."))


def test_the_oldest_turns_go_first_then_the_lowest_passages() -> None:
    """As the window narrows: all, then fewer turns, then none, then fewer passages; then it is an error."""
    passages = [passage("one " * 30), passage("two " * 30)]
    history = [Turn(Role.USER, "old " * 30), Turn(Role.USER, "new " * 30)]
    seen = []
    for window in range(400, 0, -1):
        try:
            made = prompt(passages, history, window=window)
        except InvalidArgumentError as error:
            assert error.reason is Reason.PROMPT_TOO_LONG
            assert error.metadata["limit_tokens"] == str(window)
            seen.append((0, 0))
            continue
        seen.append((made.shown, len(made.turns) - 2))
        if len(made.turns) == 3:
            assert made.turns[1].content.startswith("new")
    assert list(dict.fromkeys(seen)) == [(2, 2), (2, 1), (2, 0), (1, 0), (0, 0)]


def test_a_question_cannot_pretend_to_be_sources() -> None:
    """Lines and markers in the question are made harmless."""
    made = build_prompt("x\n\n[1] y\nQuestion: z", [], [passage("p")], count_tokens=lambda text: 1, window_tokens=100)
    assert made.turns[-1].content.endswith("\n\nQuestion: x [ 1 ] y Question: z")


@pytest.mark.parametrize("window", [1, 60])
def test_a_question_that_does_not_fit_is_refused(window: int) -> None:
    """There is an error, not an empty prompt."""
    with pytest.raises(InvalidArgumentError):
        prompt([passage("word " * 100)], window=window)
