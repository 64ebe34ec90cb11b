"""The bounds that the tests of shares go by."""

from __future__ import annotations

import math

import pytest

from tests.mesh.shares import bounds


@pytest.mark.parametrize(("calls", "share", "false_alarm"), [(10, 0.5, 0.05), (400, 0.2, 1e-6), (1000, 0.001, 1e-6)])
def test_bounds(calls: int, share: float, false_alarm: float) -> None:
    """They are as narrow as the probability allows on each side: exact sums of the binomial distribution."""

    def within(low: int, high: int) -> float:
        return sum(math.comb(calls, k) * share**k * (1 - share) ** (calls - k) for k in range(low, high + 1))

    low, high = bounds(calls, share, false_alarm)
    assert within(0, low - 1) < false_alarm / 2 <= within(0, low)
    assert within(high + 1, calls) < false_alarm / 2 <= within(high, calls)
