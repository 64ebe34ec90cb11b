"""The bounds of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogueLimits:
    """What the catalogue holds at most, and how long its promises last.

    `ingest_lease_s`: how long a version may be pending without a sign of its writer. `sweep_grace_s`: how long garbage
    stays, so that a write still on its way to the index arrives before the sweep. `sweep_lease_s`: when garbage that
    was handed out is handed out again.
    """

    max_collections: int = 1000
    max_documents: int = 100_000
    ingest_lease_s: float = 120.0
    sweep_grace_s: float = 10.0
    sweep_lease_s: float = 60.0
