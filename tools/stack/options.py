"""What `weft up` was told about the kind of stack, in words that a snapshot keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from tools.stack.part import Stack, StackError


@dataclass(frozen=True)
class Options:
    """`rules` is a folder of mesh rules in place of the repository's. `scale` is the number of replicas by Deployment,
    `zones` the zone (region/zone) by part. With a certificate and its key (PEM files) the edge speaks TLS."""

    mesh: bool = True
    rules: Path | None = None
    scale: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def query(self) -> str:
        """What differs from the defaults, for `read_options`; a declaration's name ends with it."""
        said = {
            "mesh": "" if self.mesh else "no",
            "rules": str(self.rules or ""),
            "scale": _listed({name: str(count) for name, count in self.scale.items()}),
            "zones": _listed(self.zones),
            "tls_certificate": str(self.tls_certificate or ""),
            "tls_key": str(self.tls_key or ""),
        }
        return urlencode({name: text for name, text in said.items() if text}, safe="/:,")


def read_options(query: str) -> Options:
    """From `Options.query`."""
    said = dict(parse_qsl(query, strict_parsing=bool(query)))
    return Options(
        mesh=said.pop("mesh", "yes") != "no",
        rules=_path(said.pop("rules", "")),
        scale={name: int(count) for name, count in _pairs(said.pop("scale", ""))},
        zones=dict(_pairs(said.pop("zones", ""))),
        tls_certificate=_path(said.pop("tls_certificate", "")),
        tls_key=_path(said.pop("tls_key", "")),
    )


def stack_options(stack: Stack) -> Options:
    """Those that a stack was declared with."""
    return read_options(stack.declaration.partition("?")[2])


def check_together(options: Options) -> None:
    """Raises StackError for options of the mesh where there is to be none, and for half of a certificate."""
    needs_mesh = {
        "--rules": "without the mesh they hold nowhere",
        "--scale": "without the mesh nothing spreads calls over replicas",
        "--zone": "without the mesh nothing looks at zones",
        "--tls-certificate": "without the mesh there is no edge: the gateway itself speaks plain text",
    }
    given = {
        "--rules": options.rules is not None,
        "--scale": bool(options.scale),
        "--zone": bool(options.zones),
        "--tls-certificate": bool(options.tls_certificate or options.tls_key),
    }
    for option, why in needs_mesh.items():
        if given[option] and not options.mesh:
            raise StackError(f"{option} does not go with --no-mesh: {why}")
    if (options.tls_certificate is None) != (options.tls_key is None):
        missing = "--tls-key" if options.tls_key is None else "--tls-certificate"
        raise StackError(f"{missing} is missing: the edge needs the certificate and its key")


def _listed(entries: Mapping[str, str]) -> str:
    return ",".join(f"{name}:{text}" for name, text in entries.items())


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (entry.partition(":") for entry in text.split(",") if entry)]


def _path(text: str) -> Path | None:
    return Path(text) if text else None
