"""What Envoy is started with: where its files are, and what it may use and tell."""

from __future__ import annotations

from libs.parts.envoy import ADMIN_SOCKET
from tools.localmesh.envoy.sources import CONFIG_SOURCE, server_cluster
from tools.localmesh.mesh import Json, typed

MOST_CONNECTIONS = 20_000
"""Of all listeners together; more are hung up on."""

KEPT_STATS = (
    # Whether Envoy took what it was given, and has warmed it.
    r"cluster_manager\.(cds\..*|warming_clusters)",
    r"listener_manager\.(lds\..*|total_listeners_.*|listener_create_failure)",
    r".*\.(version_text|update_rejected|update_success)",
    # What calls met with.
    r".*\.downstream_(rq_active|rq_total|rq_[1-5]xx|cx_active|cx_total)",
    r".*\.upstream_(rq_total|rq_active|rq_retry|rq_retry_success|rq_pending_overflow|rq_timeout|cx_total|cx_active"
    r"|cx_connect_fail|rq_[0-9]+|rq_[1-5]xx)",
    r".*\.membership_(healthy|total)",
    r".*\.outlier_detection\.ejections_(active|enforced_total)",
    r".*\.ssl\.(handshake|fail_verify_.*|connection_error|no_certificate)",
    r".*\.rbac\..*",
    r".*\.fault\.(aborts|delays)_injected",
    r"server\.(live|memory_.*|uptime|state)",
)
"""Regular expressions of whole names. Each cluster and listener has hundreds of others, which cost memory."""

RUNTIME: Json = {
    "layers": [{"name": "limits", "static_layer": {"re2.max_program_size.error_level": 32768}}],
}
"""How large a regular expression may become: as much as Istio allows. Envoy's own bound is that of a short one."""


def bootstrap(zone: str) -> Json:
    """For an Envoy that asks for all else. `zone` is region/zone of the clients whose proxy it is."""
    region, _, name = zone.partition("/")
    return {
        "node": {"id": "localmesh", "cluster": "localmesh", "locality": {"region": region, "zone": name}},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": CONFIG_SOURCE,
            "cds_config": CONFIG_SOURCE,
        },
        "static_resources": {"clusters": [server_cluster()]},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"safe_regex": {"regex": kept}} for kept in KEPT_STATS]}}
        },
        "layered_runtime": RUNTIME,
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=MOST_CONNECTIONS,
                    ),
                }
            ]
        },
    }
