"""What the words of a failure mean."""

import pytest

from services.inference.domain import failures


@pytest.mark.parametrize(
    ("message", "model"),
    [
        ("Stub process 'embed_0_0' is not healthy.", "embed"),
        ("Stub process 'llama_3_0_0' is not healthy.", "llama_3"),
        ("Stub process 'embed_0' is not healthy.", "embed"),
        ("the embed model: Stub process 'embed_0_0' is not healthy.", "embed"),
        ("Failed to process the request(s), message: Stub process 'a-b_1_2' is not healthy.", "a-b"),
        ("is not healthy", None),
        ("generation failed, see Triton's log", None),
        ("", None),
    ],
)
def test_a_dead_process_names_its_model(message: str, model: str | None) -> None:
    """The instance's numbers are no part of the model's name."""
    assert failures.dead_process(message) == model


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("text_input: 40001 tokens, of 32768 for prompt and answer together", "32768"),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure", "4096"),
        ("This model's maximum context length is 2048 tokens. However, you requested 3000", "2048"),
        ("Input prompt (5000 tokens) is too long and exceeds limit of 4096", "4096"),
        ("sampling_parameters.max_tokens: must be at least 1", None),
    ],
)
def test_a_prompt_that_is_too_long(message: str, limit: str | None) -> None:
    """The limit is read from the words of the extractive model and of vLLM's versions."""
    assert failures.prompt_limit(message) == limit


def test_what_is_not_there() -> None:
    """A model that does not exist is told from one that is not loaded."""
    unknown = "Request for unknown model: 'x' is not found"
    not_loaded = "Request for unknown model: 'x' has no available versions"
    assert (failures.is_unknown_model(unknown), failures.is_not_ready(unknown)) == (True, False)
    assert (failures.is_unknown_model(not_loaded), failures.is_not_ready(not_loaded)) == (False, True)
