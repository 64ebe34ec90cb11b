"""What a call must look like for a route to be its way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.regular_expressions import read_regular_expression

MESH_GATEWAY = "mesh"
"""What Istio calls the sidecars."""
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


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


EVERY_PATH = (TextMatch(How.PREFIX, "/"), TextMatch(How.REGEX, ".*"))
"""What a `uri` may say that asks nothing."""


@dataclass(frozen=True)
class Match:
    """All that is written must hold. `headers`, `without_headers` and `query_parameters` are by name.

    `source_labels`, `source_namespace` and `gateways` ask who calls, `port` which port of the host is called: the
    answer is known when routes are made, so Envoy is not asked. `path` is where it is in the document.
    """

    place: Place = field(compare=False)
    path: str = field(default="", compare=False)
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
    fields = node.fields(
        *("name", "uri", "ignoreUriCase", "scheme", "method", "authority", "headers", "withoutHeaders", "queryParams"),
        *("port", "sourceLabels", "sourceNamespace", "gateways"),
    )
    if "gateways" in fields and ("sourceLabels" in fields or "sourceNamespace" in fields):
        raise fields["gateways"].problem("Istio ignores sourceLabels and sourceNamespace beside gateways; keep one")
    if "ignoreUriCase" in fields and not {"exact", "prefix"} & set(fields["uri"].entries() if "uri" in fields else ()):
        raise fields["ignoreUriCase"].problem("is for uri: {exact: ...} and {prefix: ...} only; remove it")
    return Match(
        node.place,
        node.path,
        fields["name"].text() if "name" in fields else "",
        read_text_match(fields["uri"]) if "uri" in fields else None,
        fields["ignoreUriCase"].flag() if "ignoreUriCase" in fields else False,
        read_text_match(fields["scheme"]) if "scheme" in fields else None,
        read_text_match(fields["method"]) if "method" in fields else None,
        read_text_match(fields["authority"]) if "authority" in fields else None,
        _headers(fields.get("headers")),
        _headers(fields.get("withoutHeaders")),
        _by_name(fields.get("queryParams")),
        fields["port"].integer(1, 65535) if "port" in fields else None,
        fields["sourceLabels"].texts_by_name() if "sourceLabels" in fields else {},
        fields["sourceNamespace"].text() if "sourceNamespace" in fields else "",
        read_gateways(fields["gateways"], namespace) if "gateways" in fields else (),
    )


def read_text_match(node: Node, *, present: bool = False) -> TextMatch:
    """One of exact, prefix and regex; with `present` also {}, which is: any text. Raises MeshError."""
    written = node.fields("exact", "prefix", "regex")
    if not written and present:
        return TextMatch(How.PRESENT)
    if len(written) != 1:
        raise node.problem("needs one of exact, prefix, regex" + (", or nothing at all ({})" if present else ""))
    name, value = next(iter(written.items()))
    if name == "regex" and value.text() == "*":
        raise value.problem('"*" is no regular expression; write ' + ("{}" if present else "another"))
    return TextMatch(How(name), read_regular_expression(value) if name == "regex" else value.text())


def read_header_name(name: str, node: Node) -> str:
    """Of a field that is called like a header. Raises MeshError."""
    if name != name.lower():
        raise node.problem(f"write {name.lower()}: names of headers are in lower case")
    if name.startswith((":", "@")) or name == "host":
        raise node.problem("is not supported here: only plain headers are")
    if not _HEADER.fullmatch(name):
        raise node.problem(f"{name!r} is no name of a header")
    return name


def read_gateways(node: Node, namespace: str) -> tuple[str, ...]:
    """ "mesh", and NAMESPACE/NAME of Gateways. Raises MeshError."""
    found = []
    for item in node.items():
        name = item.text()
        if name.count("/") > 1 or "." in name:
            raise item.problem("write it as NAME or NAMESPACE/NAME")
        found.append(name if name == MESH_GATEWAY or "/" in name else f"{namespace}/{name}")
    if not found:
        raise node.problem("must not be empty; leave it out")
    return tuple(found)


def _headers(node: Node | None) -> dict[str, TextMatch]:
    for name, item in node.entries().items() if node else ():
        read_header_name(name, item)
    return _by_name(node)


def _by_name(node: Node | None) -> dict[str, TextMatch]:
    return {name: read_text_match(item, present=True) for name, item in node.entries().items()} if node else {}
