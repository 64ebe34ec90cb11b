import pytest

from models.generate.extractive.sentences import split_passage

CODE = "    for x in y:\n        print(x)\n\n    done()"


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("One is here. Two is\nthere!  Is three?", ["One is here.", "Two is there!", "Is three?"]),
        ("See e.g. Smith et al. for it. J. Doe agrees.", ["See e.g. Smith et al. for it.", "J. Doe agrees."]),
        ("Version 3.11 is out. It is fast.", ["Version 3.11 is out.", "It is fast."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("First paragraph\n\nSecond paragraph", ["First paragraph", "Second paragraph"]),
        ("As shown.[3] It holds x[1].", ["As shown.", "It holds x[1]."]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_prose_is_split_into_sentences(text: str, units: list[str]) -> None:
    """Sentences end where a reader sees them end; footnote marks, which look like citations, are taken out of prose."""
    assert split_passage(text) == units


def test_a_list_is_split_into_its_items() -> None:
    """Each item is a unit on one line; the sentence that announces the list goes with its first item."""
    text = "Choose:\n\n- the red one, which\n  is warm\n- the blue one\n\n1. alone"
    assert split_passage(text) == ["Choose:\n- the red one, which is warm", "- the blue one", "1. alone"]


def test_code_is_kept_whole_with_its_introduction() -> None:
    """A block of code, empty lines and all, is as it was and stays with the line that announces it."""
    assert split_passage(f"Loops repeat. Write::\n\n{CODE}\n\nThat is all.") == [
        "Loops repeat.",
        f"Write:\n{CODE}",
        "That is all.",
    ]


def test_fenced_code_is_one_unit() -> None:
    """Between fences nothing is split, not even what looks like prose or a list."""
    fenced = "```\nOne. Two.\n\n- three\n```"
    assert split_passage(f"Before.\n{fenced}\nAfter.") == ["Before.", fenced, "After."]


def test_a_fence_that_does_not_end_is_still_text() -> None:
    """A passage cut in the middle of a fenced block loses nothing."""
    assert split_passage("```\nx = 1\n\ny = 2") == ["```\nx = 1\n\ny = 2"]
