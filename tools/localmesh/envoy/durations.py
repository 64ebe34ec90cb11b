"""Durations as Envoy's JSON has them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """ "1.5s"; to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
