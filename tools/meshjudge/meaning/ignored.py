"""What of Envoy's configuration is no meaning of the rules: all that the comparison does not look at, and why."""

from __future__ import annotations

from collections.abc import Mapping

_NAME = "a name: of statistics, logs or the interface for debugging"
_OBSERVED = "what is logged, counted or traced, not what happens to a call"
_TRANSPORT_OF_CONFIGURATION = "where Envoy gets this from: istiod's stream there, a laptop's controller and files here"
_EXTENSION = "the name of the message beside it"

IGNORED: Mapping[str, Mapping[str, str]] = {
    "Cluster": {
        "alt_stat_name": _NAME,
        "cleanup_interval": "of ORIGINAL_DST clusters, which only iptables needs",
        "eds_cluster_config": _TRANSPORT_OF_CONFIGURATION,
        "ignore_health_on_host_removal": "active health checks could keep a replica that is no more; there are none",
        "metadata": _OBSERVED,
        "upstream_bind_config": "of ORIGINAL_DST clusters: the app's answers must pass iptables",
    },
    "Thresholds": {"track_remaining": _OBSERVED},
    "Endpoint": {
        "health_status": "replicas that are not ready are left out on both sides, or marked; the world's are all ready",
        "load_balancing_weight": "of one endpoint among those of its locality: all weigh 1, which is checked",
        "metadata": "read for the choice of the transport socket",
    },
    "CommonTlsContext": {
        "alpn_protocols": "h2 on both sides; `istio` before it is how Istio's inbound tells mTLS from an app's own TLS",
    },
    "TlsParameters": {
        "cipher_suites": "of TLS 1.2; both ends of the mesh are Envoys, which agree on 1.3",
    },
    "SecretSource": {"sds_config": _TRANSPORT_OF_CONFIGURATION},
    "Listener": {
        "bind_to_port": "iptables bring a sidecar's calls; a laptop's services dial the listener",
        "continue_on_listener_filters_timeout": "of listeners that guess a protocol",
        "listener_filters": "find out the address or protocol that a laptop's listener is there for",
        "listener_filters_timeout": "of listeners that guess a protocol",
        "max_connections_to_accept_per_socket_event": "how accepting is spread over turns of the event loop",
        "name": _NAME,
        "stat_prefix": _NAME,
        "traffic_direction": _OBSERVED,
        "use_original_dst": "whose calls come by iptables",
        "per_connection_buffer_limit_bytes": "flow control",
        "enable_reuse_port": "how the kernel spreads connections over threads",
        "access_log": _OBSERVED,
        "address": "where a laptop's listener is; which destination it is for is in its name",
    },
    "FilterChain": {
        "name": _NAME,
        "transport_socket_connect_timeout": "an end to handshakes that never complete, which no rule speaks of",
    },
    "HttpConnectionManager": {
        "access_log": _OBSERVED,
        "access_log_options": _OBSERVED,
        "codec_type": "found out from the connection's first bytes, or agreed on by ALPN; all calls are HTTP/2",
        "generate_request_id": _OBSERVED,
        "proxy_100_continue": "gRPC has no `Expect: 100-continue`",
        "request_id_extension": _OBSERVED,
        "server_name": _NAME,
        "server_header_transformation": _NAME,
        "stat_prefix": _NAME,
        "tracing": _OBSERVED,
        "upgrade_configs": "no service takes web sockets",
    },
    "RouteConfiguration": {
        "ignore_port_in_host_matching": "read where virtual hosts are chosen: a destination's, or the edge's only one",
        "max_direct_response_body_size_bytes": "a bound on what a rule may say, checked where it is applied",
        "name": _NAME,
        "validate_clusters": "whether Envoy looks for mistakes",
    },
    "VirtualHost": {
        "domains": "a Service's names, by which its virtual host is chosen; those of the edge are read",
        "include_request_attempt_count": "a header for the service that tells which try this is; none reads it",
        "name": _NAME,
    },
    "Route": {
        "decorator": _OBSERVED,
        "metadata": _OBSERVED,
        "name": _NAME,
        "stat_prefix": _NAME,
    },
    "RouteAction": {
        "cluster_not_found_response_code": "of a route to a cluster that is missing, which the comparison tells anyway",
    },
    "HttpFilter": {"name": _NAME},
    "RBAC": {
        "shadow_rules_stat_prefix": _NAME,
        "rules_stat_prefix": _NAME,
        "stat_prefix": _NAME,
        "track_per_rule_stats": _OBSERVED,
    },
    "CorsPolicy": {"filter_enabled": "always 100%, which is checked"},
    "TypedExtension": {"name": _EXTENSION},
}
"""By message and field. What is not here and not read is an error (`UnreadError`)."""

IGNORED_FILTERS: Mapping[str, str] = {
    "Router": "the end of every chain",
    "FilterConfig": "gRPC's statistics",
}
"""HTTP filters, by the message of their configuration."""

IGNORED_OF_ISTIOD: Mapping[str, str] = {
    "virtualInbound-blackhole": "calls to the port of iptables itself",
    "virtualInbound-catchall-http": "ports that no Service names: on a laptop nothing listens there",
    "virtualInbound": "ports that no Service names: on a laptop nothing listens there",
}
"""Filter chains that the other side has no part for, by name."""

WRITTEN_DEFAULTS = (("op", "EQ"),)
"""Fields of messages that are compared as they are, with the values that istiod leaves out as protobuf's defaults."""
