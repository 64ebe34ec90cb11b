"""Where the local translator's configuration may differ from istiod's: each difference with its reason, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.meshjudge.summary import Part, Parts


@dataclass(frozen=True)
class Explained:
    """A difference at a field of a section's meanings. `holds` is asked for the two whole meanings, the local one
    first: it must be true of just those for which `why` is true."""

    section: str
    field: str
    why: str
    holds: Callable[[Any, Any], bool]


def _has_no_client_certificates(ours: Any, theirs: Any) -> bool:
    return (
        "tells_client_certificate" not in ours
        and str(theirs["tells_client_certificate"]).startswith("SANITIZE_SET ")
        and all("needs_client_certificate" not in side["transport"] for side in (ours, theirs))
    )


EXPLAINED = (
    Explained(
        "edge",
        "tells_client_certificate",
        "what a caller says of certificates is removed on both sides; istiod's would then tell of the caller's own, "
        "and the edge asks for none",
        _has_no_client_certificates,
    ),
    Explained(
        "edge",
        "internal_addresses",
        "a laptop's callers are 127.0.0.1, which Envoy would trust with headers of its own (x-envoy-*); a cluster's "
        "come through a load balancer, which is to keep their addresses",
        lambda ours, theirs: ours["internal_addresses"] == "none" and "internal_addresses" not in theirs,
    ),
)
"""All of them. What is not here is a failure."""


def differences(ours: Parts, theirs: Parts) -> tuple[list[str], set[Explained]]:
    """Lines that tell where the local meaning (`ours`) is not istiod's, and the explanations that were needed."""
    told: list[str] = []
    needed: set[Explained] = set()
    for part in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(part), theirs.get(part)
        if part not in ours or part not in theirs:
            told.append(f"{' '.join(part)}: only {'istiod' if part in theirs else 'the local translator'} has it")
            continue
        for way, local, real in _unlike(mine, its, ()):
            explanation = _explanation(part, way, mine, its)
            if explanation is None:
                told.append(f"{' '.join(part)}: {' '.join(way)}: {_shown(local)} here, {_shown(real)} there")
            else:
                needed.add(explanation)
    return told, needed


def _explanation(part: Part, way: tuple[str, ...], ours: Any, theirs: Any) -> Explained | None:
    for explained in EXPLAINED:
        if (part[0], way[:1]) == (explained.section, (explained.field,)) and explained.holds(ours, theirs):
            return explained
    return None


def _unlike(ours: Any, theirs: Any, way: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The smallest parts that differ, with the way to each."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from _unlike(ours.get(name), theirs.get(name), (*way, str(name)))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
            yield from _unlike(mine, its, (*way, str(number)))
    elif ours != theirs:
        yield way, ours, theirs


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
