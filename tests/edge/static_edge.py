"""The edge alone: a real Envoy with what mesh/ says of it, in front of any address, without the rest of the mesh."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from libs.parts.envoy import start_envoy
from libs.parts.processes import free_port

MESH = Path(__file__).resolve().parents[2] / "mesh"
_TYPES = "type.googleapis.com/envoy.extensions"
_HTTP = f"{_TYPES}.filters.http"


@contextmanager
def static_edge(upstream: str, folder: Path, fault: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Its address. Calls go to `upstream`, host:port; what strangers send is as strange as in a cluster.

    `fault`: what becomes of every call before it gets anywhere, as Envoy's HTTPFault has it.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    bootstrap = folder / "bootstrap.json"
    bootstrap.write_text(json.dumps(_bootstrap(port, upstream, fault or {})))
    part = start_envoy(bootstrap, folder / "run", log=folder / "envoy.log", address=f"127.0.0.1:{port}")
    try:
        yield part.address
    finally:
        part.stop(grace_s=1.0)


def patches() -> list[dict[str, Any]]:
    """Those of mesh/transcoding.yaml, in order."""
    found: list[dict[str, Any]] = yaml.safe_load((MESH / "transcoding.yaml").read_text())["spec"]["configPatches"]
    return found


def _bootstrap(port: int, upstream: str, fault: Mapping[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "http_filters": [
            # In Istio's order.
            _filter("fault", "fault.v3.HTTPFault", **fault),
            _filter("cors", "cors.v3.Cors"),
            *(patch["patch"]["value"] for patch in patches() if patch["applyTo"] == "HTTP_FILTER"),
            _filter("router", "router.v3.Router"),
        ],
        "route_config": {"name": "edge", "virtual_hosts": [_virtual_host()]},
    }
    for patch in patches():
        if patch["applyTo"] == "NETWORK_FILTER":
            manager.update(patch["patch"]["value"]["typed_config"])
    connections = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {"name": "edge", "address": _address(f"127.0.0.1:{port}"), "filter_chains": [{"filters": [connections]}]}
    return {
        "admin": {"address": {"pipe": {"path": "admin.sock", "mode": 0o600}}},
        "static_resources": {"listeners": [listener], "clusters": [_cluster(upstream)]},
    }


def _virtual_host() -> dict[str, Any]:
    (rule,) = (
        rule
        for document in yaml.safe_load_all((MESH / "edge.yaml").read_text())
        if document["kind"] == "VirtualService"
        for rule in document["spec"]["http"]
    )
    cors = rule["corsPolicy"]
    # A caller's deadline is Envoy's too, as Istio has it.
    route = {"cluster": "upstream", "timeout": "0s", "max_grpc_timeout": "0s"}
    policy = {
        "@type": f"{_HTTP}.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"safe_regex": {"regex": origin["regex"]}} for origin in cors["allowOrigins"]],
        "allow_methods": ",".join(cors["allowMethods"]),
        "allow_headers": ",".join(cors["allowHeaders"]),
        "expose_headers": ",".join(cors["exposeHeaders"]),
        "max_age": "86400",
    }
    return {
        "name": "all",
        "domains": ["*"],
        "request_headers_to_remove": rule["headers"]["request"]["remove"],
        "routes": [{"match": {"prefix": "/"}, "route": route}],
        "typed_per_filter_config": {"envoy.filters.http.cors": policy},
    }


def _cluster(upstream: str) -> dict[str, Any]:
    http2 = {
        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": _address(upstream)}}
    return {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _filter(name: str, kind: str, **settings: Any) -> Mapping[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_HTTP}.{kind}", **settings}}


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
