"""How a cluster spreads calls over its replicas, and what it bears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.meshjudge.meaning.message import UnreadError, compact, reading
from tools.meshjudge.meaning.transport import PLAIN_TEXT, upstream
from tools.meshjudge.meaning.values import duration, value_of

NO_BOUND = 4294967295
DEFAULT_BOUNDS = {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}
"""Envoy's, where none are said."""
DEFAULT_PANIC_PERCENT = 50
DEFAULT_OUTLIER = {"interval": "10s", "base_ejection_time": "30s", "max_ejection_time": "300s"}
CONSECUTIVE = {
    "consecutive_5xx": ("enforcing_consecutive_5xx", 5, 100),
    "consecutive_gateway_failure": ("enforcing_consecutive_gateway_failure", 5, 0),
    "consecutive_local_origin_failure": ("enforcing_consecutive_local_origin_failure", 5, 100),
}
"""Detections: the field that says how often they count, and both fields' defaults."""


def cluster_meaning(
    cluster: dict[str, Any], endpoints: dict[str, Any] | None, names: Mapping[str, str]
) -> dict[str, Any]:
    """`endpoints` is its ClusterLoadAssignment, `names` are the replicas' by their addresses."""
    with reading("Cluster", cluster) as message:
        balancing = _balancing(message)
        places = _places(endpoints, names)
        transport = _transport(message, endpoints)
        message.take("name")
        kind = message.take("type", "STATIC")
        message.take("load_assignment")
        bound = message.take("per_connection_buffer_limit_bytes")
        if bound:
            raise UnreadError("Cluster.per_connection_buffer_limit_bytes")
        return compact(
            kind=None if kind == "EDS" else kind,
            balancing=balancing,
            connect_timeout=duration(message.take("connect_timeout"), "5s"),
            most=_bounds(message.take("circuit_breakers")),
            **_protocol(message),
            ejecting=_outlier(message.take("outlier_detection")),
            # Nobody is dialled where there is nobody.
            transport=transport if places else None,
            replicas=_beside(places, balancing.get("by_locality_weight", False)),
        )


def process_meaning(cluster: dict[str, Any]) -> dict[str, Any]:
    """Of the cluster that brings calls from a pod's proxy to its process: what it bears."""
    with reading("Cluster", cluster) as message:
        for name in ("name", "type", "lb_policy", "common_lb_config", "load_assignment"):
            message.take(name)
        return compact(
            connect_timeout=duration(message.take("connect_timeout"), "5s"),
            most=_bounds(message.take("circuit_breakers")),
            **_protocol(message),
            transport=_transport(message, None),
        )


def _bounds(fields: dict[str, Any] | None) -> dict[str, Any]:
    with reading("CircuitBreakers", fields) as message:
        thresholds = message.take("thresholds", [{}])
    if len(thresholds) != 1:
        raise UnreadError("CircuitBreakers.thresholds for several priorities")
    with reading("Thresholds", thresholds[0]) as message:
        found = {name: message.take(name, default) for name, default in DEFAULT_BOUNDS.items()}
        budget = _retry_budget(message.take("retry_budget"))
    bounds = {name: value for name, value in found.items() if value != NO_BOUND}
    return {**bounds, **compact(retry_budget=budget)}


def _retry_budget(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """It goes before `max_retries`."""
    if fields is None:
        return None
    with reading("RetryBudget", fields) as message:
        return {
            "share": value_of(message.take("budget_percent"), 20) + "%",
            "at_least": message.take("min_retry_concurrency", 3),
            "within": duration(message.take("budget_interval"), "0s"),
        }


def _balancing(message: Any) -> dict[str, Any]:
    policy = message.take("lb_policy", "ROUND_ROBIN")
    if message.has("load_balancing_policy"):
        raise UnreadError("Cluster.load_balancing_policy")
    config = message.take("least_request_lb_config") or message.take("round_robin_lb_config") or {}
    rest = {name: message.take(name) for name in ("ring_hash_lb_config", "maglev_lb_config") if message.has(name)}
    slow_start = _slow_start(config.get("slow_start_config"))
    if unread := set(config) - {"slow_start_config", "choice_count"}:
        raise UnreadError(f"{policy}: {unread}")
    choices = config.get("choice_count", 2)
    with reading("CommonLbConfig", message.take("common_lb_config")) as common:
        panic = value_of(common.take("healthy_panic_threshold"), 0) if common.has("healthy_panic_threshold") else None
        weighted = common.take("locality_weighted_lb_config") is not None
        common.take("ignore_new_hosts_until_first_hc")
        zones = common.take("zone_aware_lb_config")
        closes = common.take("close_connections_on_host_set_change")
    return compact(
        policy=policy,
        choices=choices if choices != 2 else None,
        slow_start=slow_start,
        panic_below=f"{panic or DEFAULT_PANIC_PERCENT}%",
        by_locality_weight=weighted,
        zones=zones,
        closes_on_change=closes,
        **rest,
    )


def _slow_start(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    with reading("SlowStartConfig", fields) as message:
        aggression = (message.take("aggression") or {}).get("default_value", 1.0)
        least = value_of(message.take("min_weight_percent"), 10)
        return {
            "window": duration(message.take("slow_start_window")),
            "least": f"{least}%",
            "aggression": f"{aggression:g}",
        }


def _outlier(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """Only the detections that count; success rates and failure percentages where Envoy's defaults leave them on."""
    if fields is None:
        return None
    with reading("OutlierDetection", fields) as message:
        split = message.take("split_external_local_origin_errors", False)
        found: dict[str, Any] = {}
        for name, (enforcing, default, default_share) in CONSECUTIVE.items():
            errors, share = message.take(name, default), message.take(enforcing, default_share)
            if share and (split or "local_origin" not in name):
                found[name] = errors if share == 100 else f"{errors} ({share}%)"
        for name, default in (
            ("enforcing_success_rate", 100),
            ("enforcing_failure_percentage", 0),
            ("enforcing_local_origin_success_rate", 100 if split else 0),
            ("enforcing_failure_percentage_local_origin", 0),
        ):
            if (share := message.take(name, default)) and (split or "local_origin" not in name):
                found[name.removeprefix("enforcing_")] = f"{share}%"
        for name, default_time in DEFAULT_OUTLIER.items():
            found[name] = duration(message.take(name), default_time)
        found["max_ejection_percent"] = message.take("max_ejection_percent", 10)
        jitter = duration(message.take("max_ejection_time_jitter"), "0s")
        one_at_least = message.take("always_eject_one_host", False)
        return compact(
            **found, local_origin_apart=split, jitter=None if jitter == "0s" else jitter, always_one=one_at_least
        )


def _protocol(message: Any) -> dict[str, Any]:
    options = message.take("typed_extension_protocol_options", {})
    with reading("ConnectionOptions", message.take("upstream_connection_options")) as connection:
        keepalive = connection.take("tcp_keepalive")
    found: dict[str, Any] = {"tcp_keepalive": keepalive}
    for config in options.values():
        with reading("HttpProtocolOptions", config) as http:
            explicit = http.take("explicit_http_config", {})
            downstream = http.take("use_downstream_protocol_config")
            if "http2_protocol_options" in explicit:
                found["http"] = "2"
                with reading("Http2ProtocolOptions", explicit["http2_protocol_options"]) as http2:
                    found["most_streams"] = http2.take("max_concurrent_streams")
            else:
                found["http"] = "as the caller's" if downstream is not None else "1.1"
            with reading("CommonHttpProtocolOptions", http.take("common_http_protocol_options")) as common:
                found["idle_timeout"] = duration(common.take("idle_timeout"))
                found["requests_per_connection"] = common.take("max_requests_per_connection")
                found["max_connection_duration"] = duration(common.take("max_connection_duration"))
    return found


def _transport(message: Any, endpoints: dict[str, Any] | None) -> Any:
    """Where sockets are chosen by what an endpoint is: that of these endpoints, which must be one."""
    socket, matches = message.take("transport_socket"), message.take("transport_socket_matches", [])
    if not matches:
        return upstream(socket)
    found: list[Any] = []
    for locality in (endpoints or {}).get("endpoints", ()):
        for endpoint in locality.get("lb_endpoints", ()):
            metadata = endpoint.get("metadata", {}).get("filter_metadata", {}).get("envoy.transport_socket_match", {})
            chosen = next(match for match in matches if match.get("match", {}).items() <= metadata.items())
            if (meaning := upstream(chosen["transport_socket"])) not in found:
                found.append(meaning)
    if len(found) > 1:
        raise UnreadError("a cluster whose endpoints are dialled in different ways")
    return found[0] if found else PLAIN_TEXT


def _places(endpoints: dict[str, Any] | None, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """By priority and zone."""
    found = []
    with reading("ClusterLoadAssignment", endpoints) as message:
        message.take("cluster_name")
        if (policy := message.take("policy")) and policy != {"overprovisioning_factor": 140}:
            raise UnreadError(f"ClusterLoadAssignment.policy: {policy}")
        for each in message.take("endpoints", ()):
            with reading("LocalityLbEndpoints", each) as one:
                locality = one.take("locality", {})
                zone = "/".join(filter(None, (locality.get(part) for part in ("region", "zone", "sub_zone"))))
                weight, priority = one.take("load_balancing_weight"), one.take("priority", 0)
                pods = sorted(_names(one.take("lb_endpoints", ()), names))
            if pods:
                found.append({"priority": priority, "zone": zone, "weight": weight, "pods": pods})
    return sorted(found, key=lambda place: (place["priority"], place["zone"]))


def _beside(places: Sequence[dict[str, Any]], weighted: bool) -> list[Any]:
    """Replicas by priority, those that are used first in front; zones only where they have weights."""
    if weighted:
        return list(places)
    priorities = sorted({place["priority"] for place in places})
    return [
        sorted(pod for place in places if place["priority"] == each for pod in place["pods"]) for each in priorities
    ]


def _names(listed: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[str]:
    """Replicas with their ports."""
    found = []
    for each in listed:
        with reading("Endpoint", each) as message:
            if (weight := message.take("load_balancing_weight", 1)) != 1:
                raise UnreadError(f"an endpoint's weight: {weight}")
            if message.take("health_status", "UNKNOWN") not in ("UNKNOWN", "HEALTHY"):
                continue
            with reading("EndpointAddress", message.take("endpoint")) as one:
                socket = one.take("address")["socket_address"]
        found.append(f"{names[socket['address']]}:{socket['port_value']}")
    return found
