"""Durations as Istio takes them."""

from __future__ import annotations

from tools.localmesh.nodes import Node


def read_duration_s(node: Node, *, zero: bool = False) -> float:
    """Seconds, whole milliseconds and at least one, as Istio asks; with `zero` also 0s. Raises MeshError."""
    seconds = node.duration_s(0.0)
    milliseconds = round(seconds * 1000)
    if abs(seconds * 1000 - milliseconds) > 1e-6:
        raise node.problem(f"{node.text()} is finer than a millisecond; Istio takes whole ones")
    if milliseconds == 0 and not zero:
        raise node.problem(f"{node.text()} is less than 1ms, the least that Istio takes; for none leave the field out")
    return milliseconds / 1000
