import pytest

from libs.parts.processes import RunningPart
from tools.stack.part import Part, RestartPolicy, Stack, start_waves


def _never(stack: Stack) -> RunningPart:
    raise AssertionError


def _part(name: str, *needs: str) -> Part:
    return Part(name, 1, _never, needs)


def test_parts_come_after_what_they_need() -> None:
    """Each part is in the earliest wave that follows all it needs."""
    parts = [_part("door", "a", "b"), _part("b", "a"), _part("a"), _part("c")]
    assert [[part.name for part in wave] for wave in start_waves(parts)] == [["a", "c"], ["b"], ["door"]]


@pytest.mark.parametrize("parts", [[_part("a", "b"), _part("b", "a")], [_part("a", "nobody")]])
def test_parts_that_can_never_start_are_refused(parts: list[Part]) -> None:
    """A circle, or a need that is no part, is told by name and not waited for."""
    with pytest.raises(ValueError, match="a"):
        start_waves(parts)


def test_waits_grow_to_a_limit() -> None:
    """Each failure in a row doubles the wait before the next start, up to the limit."""
    policy = RestartPolicy(first_s=0.5, limit_s=3.0)
    assert [policy.wait_s(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]
