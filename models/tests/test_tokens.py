import pytest

from models.generate.extractive.sampling import SamplingParameters, parse_sampling_parameters
from models.generate.extractive.tokens import count_tokens, limit, tokenize

TEXT = "Dogs herd sheep. [12]\n\nÉtude_1  日本語\t\x00 antidisestablishmentarianism 12345"


def test_tokens_are_the_text() -> None:
    """Nothing is lost or added, and counting counts the same pieces."""
    assert "".join(tokenize(TEXT)) == TEXT
    assert count_tokens(TEXT) == len(tokenize(TEXT))


def test_a_citation_is_three_tokens() -> None:
    """As with a language model's tokenizer, who reads the stream gets a citation in parts."""
    assert tokenize("x [12]") == ["x", " [", "12", "]"]


def test_length_ends_the_text() -> None:
    """Of more than `max_tokens` or more than there is room for only that many are kept."""
    generated = limit("one two three", SamplingParameters(max_tokens=2), at_most=9)
    assert (generated.tokens, generated.finish_reason) == (["one", " two"], "length")
    assert limit("one two three", SamplingParameters(max_tokens=9), at_most=1).tokens == ["one"]
    assert limit("one two", SamplingParameters(max_tokens=2), at_most=9).finish_reason == "stop"


@pytest.mark.parametrize(
    ("stop", "include", "text"),
    [
        (("wo",), False, "one t"),
        (("wo",), True, "one two"),
        (("three", "two t"), False, "one "),
        (("one",), False, ""),
        (("four",), False, "one two three"),
    ],
)
def test_stop_strings_end_the_text(stop: tuple[str, ...], include: bool, text: str) -> None:
    """The text ends before the stop string that is complete first, or after it if it is to be kept."""
    generated = limit("one two three", SamplingParameters(9, stop, include), at_most=9)
    assert ("".join(generated.tokens), generated.finish_reason) == (text, "stop")


def test_a_stop_string_after_the_last_token_does_not_count() -> None:
    """`max_tokens` comes first where it cuts the stop string."""
    generated = limit("one two three", SamplingParameters(2, ("two three",)), at_most=9)
    assert ("".join(generated.tokens), generated.finish_reason) == ("one two", "length")


def test_sampling_parameters_are_read() -> None:
    """Numbers may be texts, one stop string may stand alone, what shapes a draw is taken and has no effect."""
    text = '{"max_tokens": "7", "stop": "END", "temperature": 0.3, "n": 1}'
    assert parse_sampling_parameters(text) == SamplingParameters(7, ("END",))
    assert parse_sampling_parameters("") == SamplingParameters(16)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense", "not JSON"),
        ("[]", "JSON object"),
        ('{"max_token": 1}', "max_token"),
        ('{"max_tokens": 0}', "max_tokens"),
        ('{"max_tokens": 1.5}', "max_tokens"),
        ('{"max_tokens": true}', "max_tokens"),
        ('{"max_tokens": 1e999}', "max_tokens"),
        ('{"n": 2}', "n: must be 1"),
        ('{"stop": [""]}', "stop"),
        ('{"stop": 5}', "stop"),
        ('{"include_stop_str_in_output": "yes"}', "include_stop_str_in_output"),
    ],
)
def test_wrong_sampling_parameters_are_named(text: str, named: str) -> None:
    """What is wrong is refused with the parameter's name."""
    with pytest.raises(ValueError, match=named):
        parse_sampling_parameters(text)
