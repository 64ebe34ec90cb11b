"""EnvoyFilter: the two patches of the edge's listener that are understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.localmesh.documents import Document
from tools.localmesh.problems import Place


@dataclass(frozen=True)
class InsertedFilter:
    """An HTTP filter before the router, as Envoy's JSON has it."""

    value: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class MergedManager:
    """Fields of the HTTP connection manager, to be merged into it as protobuf does."""

    value: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class EnvoyFilter:
    """For the workloads with the selector's labels; patches in written order."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    patches: tuple[InsertedFilter | MergedManager, ...]
    place: Place


def read_envoy_filter(document: Document) -> EnvoyFilter:
    """Raises MeshError."""
    raise NotImplementedError
