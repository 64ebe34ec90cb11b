"""Where Envoy's resources are: LDS and CDS are a file each, every RDS, EDS and SDS resource has one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["lds", "cds", "rds", "eds", "sds"]

KINDS: Mapping[str, Kind] = {
    "listeners": "lds",
    "clusters": "cds",
    "routes": "rds",
    "endpoints": "eds",
    "secrets": "sds",
}
"""By what Envoy calls them when it asks for them."""

SOCKET = "xds.sock"
"""In Envoy's working folder; relative, because a socket's path has at most 107 bytes."""
SERVER = "xds"
"""The cluster that is that socket."""
ANSWER_WITHIN_S = 30.0
"""A question for what is new is answered by then."""
ASK_AGAIN_AFTER_S = 0.1
"""At most twice as long after an answer, or none, Envoy asks again."""

CONFIG_SOURCE: Mapping[str, Any] = {
    "resource_api_version": "V3",
    "initial_fetch_timeout": "0s",
    "api_config_source": {
        "api_type": "REST",
        "transport_api_version": "V3",
        "cluster_names": [SERVER],
        "refresh_delay": f"{ASK_AGAIN_AFTER_S}s",
        "request_timeout": f"{2 * ANSWER_WITHIN_S}s",
    },
}
"""Where Envoy finds any resource: it asks at the socket for what a file of the xDS folder has."""


def resource_file(folder: Path, kind: Kind, name: str = "") -> Path:
    """Of a resource (RDS, EDS, SDS), or of all (LDS, CDS). `folder` is the xDS folder."""
    if kind in ("lds", "cds"):
        return folder / f"{kind}.json"
    return folder / kind / f"{quote(name, safe='@')}.json"


def server_cluster() -> dict[str, Any]:
    """Whom Envoy asks. Nothing bounds how many questions wait."""
    unbounded = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 2**32 - 1)
    endpoint = {"address": {"pipe": {"path": SOCKET}}}
    return {
        "name": SERVER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [unbounded]},
        "load_assignment": {"cluster_name": SERVER, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }
