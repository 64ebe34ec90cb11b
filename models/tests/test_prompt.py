from models.generate.extractive.prompt import Prompt, Source, parse_prompt


def turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def test_sources_and_question_of_the_last_user_turn() -> None:
    """Numbers, headings, texts with empty lines in them, and the question are read as they were written."""
    prompt = parse_prompt(
        turn("system", "Answer from the sources.")
        + turn("user", "Sources:\n[1] Guide > Set-up\nFirst.\n\nSecond.\n\n[2]\nThird.\n\nQuestion: How?\nReally?")
        + "<|im_start|>assistant\n"
    )
    sources = (Source(1, "Guide > Set-up", "First.\n\nSecond."), Source(2, "", "Third."))
    assert prompt == Prompt("How?\nReally?", "", sources)


def test_a_passage_cannot_make_a_source_or_a_question() -> None:
    """Bracketed numbers out of turn belong to the passage; the last `Question:` counts."""
    text = "Sources:\n[1] A\nSee\n\n[7] elsewhere\n\nQuestion: not this one\n\n[2] B\nText.\n\nQuestion: this one"
    prompt = parse_prompt(turn("user", text))
    assert prompt.question == "this one"
    assert [source.number for source in prompt.sources] == [1, 2]
    assert prompt.sources[0].text == "See\n\n[7] elsewhere\n\nQuestion: not this one"


def test_history_gives_the_question_before() -> None:
    """Of earlier turns the user's last question is kept, whether it came with sources or not."""
    earlier = turn("user", "Sources:\n[1] A\nText.\n\nQuestion: What is a cat?") + turn("assistant", "An animal. [1]")
    now = turn("user", "Sources:\n[1] A\nText.\n\nQuestion: And a dog?")
    assert parse_prompt(earlier + now).asked_before == "What is a cat?"
    assert parse_prompt(turn("user", "What is a cat?") + now).asked_before == "What is a cat?"


def test_plain_text_is_a_question() -> None:
    """A prompt without turns and sources is read, not refused."""
    assert parse_prompt("What is a cat?") == Prompt("What is a cat?", "", ())
    assert parse_prompt("") == Prompt("", "", ())


def test_sources_without_question_or_passages() -> None:
    """What is missing is empty."""
    assert parse_prompt("Sources:\n[1] A\nText.") == Prompt("", "", (Source(1, "A", "Text."),))
    assert parse_prompt("Sources:\n\nQuestion: What?") == Prompt("What?", "", ())
