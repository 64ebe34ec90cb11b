"""What a call must look like for a route to be its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place


class How(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True)
class TextMatch:
    """`value` is empty where it is only asked whether there is one."""

    how: How
    value: str = ""


@dataclass(frozen=True)
class Match:
    """All that is written must hold. `headers`, `without_headers` and `query_parameters` are by name.

    `source_labels`, `source_namespace` and `gateways` ask who calls, `port` which port of the host is called: the
    answer is known when routes are made, so Envoy is not asked.
    """

    place: Place = field(compare=False)
    name: str = ""
    uri: TextMatch | None = None
    ignore_uri_case: bool = False
    scheme: TextMatch | None = None
    method: TextMatch | None = None
    authority: TextMatch | None = None
    headers: Mapping[str, TextMatch] = field(default_factory=dict)
    without_headers: Mapping[str, TextMatch] = field(default_factory=dict)
    query_parameters: Mapping[str, TextMatch] = field(default_factory=dict)
    port: int | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()


def read_match(node: Node, namespace: str) -> Match:
    """`namespace` is the VirtualService's. Raises MeshError."""
    raise NotImplementedError
