"""What chance allows: bounds for counts, computed from the binomial distribution."""

from __future__ import annotations

import math

FALSE_ALARM = 1e-6


def bounds(calls: int, share: float, false_alarm: float = FALSE_ALARM) -> tuple[int, int]:
    """The least and the most of so many calls that meet something of that probability each; fewer or more come by
    chance less often than `false_alarm`, both together."""
    terms = [_probability(calls, share, count) for count in range(calls + 1)]
    low, tail = 0, terms[0]
    while tail < false_alarm / 2:
        low += 1
        tail += terms[low]
    high, tail = calls, terms[calls]
    while tail < false_alarm / 2:
        high -= 1
        tail += terms[high]
    return low, high


def _probability(calls: int, share: float, count: int) -> float:
    """Of exactly so many (by logarithms: binomial coefficients are larger than floats)."""
    coefficient = math.lgamma(calls + 1) - math.lgamma(count + 1) - math.lgamma(calls - count + 1)
    return math.exp(coefficient + count * math.log(share) + (calls - count) * math.log1p(-share))
