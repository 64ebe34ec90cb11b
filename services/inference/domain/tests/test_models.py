"""Kinds of models, and when a dead one is loaded again."""

import pytest

from services.inference.domain.models import ModelKind, kind_of
from services.inference.domain.revival import CALM_S, FIRST_WAIT_S, LONGEST_WAIT_S, Attempts


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        ({"text_input", "stream"}, {"text_output"}, ModelKind.GENERATE),
        ({"TEXT"}, {"EMBEDDING", "TOKEN_COUNT"}, ModelKind.EMBED),
        ({"text_input"}, {"EMBEDDING"}, ModelKind.UNSPECIFIED),
        (set(), set(), ModelKind.UNSPECIFIED),
    ],
)
def test_the_tensors_tell_the_kind(inputs: set[str], outputs: set[str], kind: ModelKind) -> None:
    """Both sides of the contract must be there."""
    assert kind_of(inputs, outputs) is kind


def test_the_first_attempt_is_due_at_once() -> None:
    """A model that has never died is loaded again without a wait."""
    assert Attempts().due(0.0)


def test_waits_grow_to_a_bound() -> None:
    """Each attempt doubles the wait before the next."""
    attempts, now_s, waits = Attempts(), 0.0, []
    for _ in range(12):
        attempts = attempts.made(now_s)
        waits.append(attempts.wait_s)
        assert not attempts.due(now_s + attempts.wait_s - 0.1)
        now_s += attempts.wait_s
        assert attempts.due(now_s)
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == LONGEST_WAIT_S


def test_a_model_that_has_lived_begins_anew() -> None:
    """After a calm time the next death is the first."""
    attempts = Attempts().made(0.0).made(10.0)
    assert attempts.made(10.0 + CALM_S + 1).wait_s == FIRST_WAIT_S
