"""Where Envoy finds a resource: LDS and CDS are a file each, every RDS, EDS and SDS resource has one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["lds", "cds", "rds", "eds", "sds"]


def resource_file(folder: Path, kind: Kind, name: str = "") -> Path:
    """Of a resource (RDS, EDS, SDS), or of all (LDS, CDS). `folder` is the xDS folder."""
    if kind in ("lds", "cds"):
        return folder / f"{kind}.json"
    return folder / kind / f"{quote(name, safe='@')}.json"


def config_source(folder: Path, kind: Kind, name: str = "") -> dict[str, Any]:
    """The ConfigSource that names the file: Envoy reads it anew when another is renamed over it."""
    path = resource_file(folder.absolute(), kind, name)
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}
