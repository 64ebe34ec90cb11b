"""Clusters: what a client keeps towards the replicas that its calls may go to, and which those are.

The meaning is istiod's (cluster_traffic_policy.go and loadbalancer.go in istio/pilot/pkg/networking/core).
"""

from __future__ import annotations

from tools.localmesh.envoy.durations import duration
from tools.localmesh.envoy.sources import CONFIG_SOURCE
from tools.localmesh.envoy.tls import TlsMode, upstream_socket
from tools.localmesh.envoy.ways import Target, Way, distinct, edge_ways, mesh_ways, targets
from tools.localmesh.mesh import Json, Mesh, cluster_name, typed
from tools.localmesh.pods import Pod, inbound_address
from tools.localmesh.rules.destination_rules import DestinationRule
from tools.localmesh.rules.gateways import Gateway, Server
from tools.localmesh.rules.selectors import ROOT_NAMESPACE
from tools.localmesh.rules.traffic_policies import (
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    TrafficPolicy,
    Warmup,
)
from tools.localmesh.workloads import Service, ServicePort, includes

UNBOUNDED = 2**32 - 1
"""Where Istio has no bound; Envoy's own would be 1024, and 3 retries."""
CONNECT_TIMEOUT_S = 10.0
_HTTP2 = ("grpc", "http2")
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def destination_rule(mesh: Mesh, client: Pod, service: Service) -> DestinationRule | None:
    """Whose word holds for a client's calls to a Service: the client's namespace goes before the Service's, and that
    before the mesh's own. One of another namespace is not used."""
    own = client.workload.namespace
    for namespace in (own, service.namespace, ROOT_NAMESPACE):
        for rule in mesh.rules.destination_rules:
            if (rule.namespace, rule.host) == (namespace, service.host) and (not rule.private or namespace == own):
                return rule
    return None


def traffic_policy(mesh: Mesh, client: Pod, target: Target) -> TrafficPolicy:
    """What holds for a client's calls to a target."""
    rule = destination_rule(mesh, client, target.service)
    return rule.effective(target.subset, target.port.number) if rule else TrafficPolicy()


def outbound_targets(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> list[Target]:
    """The Service and all its subsets, and what else a pod's calls to it may be led to. Raises MeshError."""
    rule = destination_rule(mesh, client, service)
    subsets = [subset.name for subset in rule.subsets] if rule else []
    own = [Target(service, port, subset) for subset in ("", *subsets)]
    led = targets(mesh.registry, mesh_ways(mesh, client, service, port))
    return distinct([*own, *led])


def edge_targets(mesh: Mesh, pod: Pod, gateway: Gateway, server: Server) -> list[Target]:
    """What calls that come in at a server of a Gateway may be led to. Raises MeshError."""
    ways: list[Way] = [way for ways in edge_ways(mesh, pod, gateway, server).values() for way in ways]
    return targets(mesh.registry, ways)


def outbound_clusters(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> list[Json]:
    """Of `outbound_targets`. Raises MeshError."""
    return [cluster(mesh, client, target) for target in outbound_targets(mesh, client, service, port)]


def cluster(mesh: Mesh, client: Pod, target: Target) -> Json:
    """A Cluster; its endpoints come by EDS. Raises MeshError."""
    service, port, subset = target.service, target.port, target.subset
    policy = traffic_policy(mesh, client, target)
    name = cluster_name(client, service, port, subset)
    pool = policy.connection_pool
    connect_timeout_s = pool.connect_timeout_s if pool and pool.connect_timeout_s else CONNECT_TIMEOUT_S
    found: Json = typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        alt_stat_name=stat_name(client, target),
        type="EDS",
        eds_cluster_config={"eds_config": CONFIG_SOURCE},
        connect_timeout=duration(connect_timeout_s),
        circuit_breakers={"thresholds": [thresholds(pool, policy.retry_budget)]},
        # Who is no longer listed gets no more calls, whatever Envoy thinks of it.
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options={OPTIONS: protocol_options(port, pool)},
        common_lb_config=_common_balancing(policy),
        **_balancing(policy.load_balancer),
    )
    if policy.outlier_detection:
        found["outlier_detection"] = _outlier_detection(policy.outlier_detection)
    mode: TlsMode | None = None
    if policy.tls:
        mode = "DISABLE" if policy.tls.mode == "DISABLE" else "ISTIO_MUTUAL"
    socket = upstream_socket(mesh, client, service, port, subset, mode)
    return found | ({"transport_socket": socket} if socket else {})


def stat_name(client: Pod, target: Target) -> str:
    """What statistics call a cluster: no dots, at which Envoy ends a cluster's name there."""
    service = f"{target.service.namespace}/{target.service.name}"
    return f"outbound|{target.port.number}|{target.subset}|{service}@{client.name}"


def endpoints(mesh: Mesh, client: Pod, service: Service, port: ServicePort, subset: str) -> Json:
    """A ClusterLoadAssignment: the replicas by zone, those first that the client prefers. Who is not ready gets no
    calls, and counts among those who are not well: where too few in a zone are, the next zone gets some of its calls.
    """
    rule = destination_rule(mesh, client, service)
    chosen = rule.subset(subset) if rule and subset else None
    labels = chosen.labels if chosen else {}
    policy = traffic_policy(mesh, client, Target(service, port, subset))
    panics = policy.outlier_detection is not None and policy.outlier_detection.min_health_percent > 0
    zones: dict[str, list[Pod]] = {}
    # An unknown subset has nobody: all of the Service would be wider than what is written.
    for pod in mesh.pods_of(service) if chosen or not subset else ():
        # With a panic threshold even those who are not well get calls: so who is not ready is left out.
        if includes(pod.workload.labels, labels) and (pod.name in mesh.ready or not panics):
            zones.setdefault(pod.zone, []).append(pod)
    priorities = _priorities(client, list(zones), policy)
    return typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster_name(client, service, port, subset),
        endpoints=[_zone(mesh, zone, pods, port, priorities[zone]) for zone, pods in sorted(zones.items())],
    )


def _zone(mesh: Mesh, zone: str, pods: list[Pod], port: ServicePort, priority: int) -> Json:
    region, _, name = zone.partition("/")
    found = []
    for pod in pods:
        address, number = inbound_address(pod, port)
        socket_address = {"socket_address": {"address": address, "port_value": number}}
        health = "HEALTHY" if pod.name in mesh.ready else "UNHEALTHY"
        found.append({"endpoint": {"address": socket_address}, "health_status": health, "load_balancing_weight": 1})
    locality = {"region": region, "zone": name}
    return {"locality": locality, "lb_endpoints": found, "load_balancing_weight": len(pods), "priority": priority}


def _priorities(client: Pod, zones: list[str], policy: TrafficPolicy) -> dict[str, int]:
    """By zone, without gaps from 0: the client's own, its region's others, the region to fail over to, the rest.
    Without outlier detection nobody would ever be left for the next, so all are equal then."""
    balancer = policy.load_balancer
    if policy.outlier_detection is None or (balancer and not balancer.locality):
        return dict.fromkeys(zones, 0)
    region = client.zone.partition("/")[0]
    next_region = balancer.failover.get(region) if balancer else None

    def distance(zone: str) -> int:
        if zone == client.zone:
            return 0
        if zone.partition("/")[0] == region:
            return 2
        return 4 if next_region not in (None, zone.partition("/")[0]) else 3

    ranks = sorted({distance(zone) for zone in zones})
    return {zone: ranks.index(distance(zone)) for zone in zones}


def thresholds(pool: ConnectionPool | None, budget: RetryBudget | None) -> Json:
    """How much there may be at a time."""
    found: Json = {
        "max_connections": (pool and pool.max_connections) or UNBOUNDED,
        "max_pending_requests": (pool and pool.http1_max_pending_requests) or UNBOUNDED,
        "max_requests": (pool and pool.http2_max_requests) or UNBOUNDED,
        "max_retries": (pool and pool.max_retries) or UNBOUNDED,
        "track_remaining": True,
    }
    if budget:
        found["retry_budget"] = {
            "budget_percent": {"value": budget.percent},
            "min_retry_concurrency": budget.min_retry_concurrency,
        }
        if budget.budget_interval_s is not None:
            found["retry_budget"]["budget_interval"] = duration(budget.budget_interval_s)
    return found


def protocol_options(port: ServicePort, pool: ConnectionPool | None) -> Json:
    """How a cluster speaks HTTP; the type of the message is OPTIONS."""
    http2 = port.protocol in _HTTP2
    own: Json = {}
    common: Json = {}
    if pool and http2 and pool.max_concurrent_streams:
        own["max_concurrent_streams"] = pool.max_concurrent_streams
    if pool and pool.idle_timeout_s is not None:
        common["idle_timeout"] = duration(pool.idle_timeout_s)
    if pool and pool.max_requests_per_connection:
        common["max_requests_per_connection"] = pool.max_requests_per_connection
    if pool and pool.max_connection_duration_s is not None:
        common["max_connection_duration"] = duration(pool.max_connection_duration_s)
    explicit = {"http2_protocol_options" if http2 else "http_protocol_options": own}
    return typed(OPTIONS, explicit_http_config=explicit, **({"common_http_protocol_options": common} if common else {}))


def _balancing(balancer: LoadBalancer | None) -> Json:
    simple = balancer.simple if balancer else "LEAST_REQUEST"
    found: Json = {"lb_policy": simple}
    if balancer and balancer.warmup:
        found[f"{simple.lower()}_lb_config"] = {"slow_start_config": _slow_start(balancer.warmup)}
    return found


def _slow_start(warmup: Warmup) -> Json:
    return {
        "slow_start_window": duration(warmup.duration_s),
        # A key of Envoy's runtime must be named; Istio names one that nobody can set.
        "aggression": {"default_value": warmup.aggression, "runtime_key": "("},
        "min_weight_percent": {"value": warmup.minimum_percent},
    }


def _common_balancing(policy: TrafficPolicy) -> Json:
    """Where fewer replicas are well than this, all get calls; 0 is never."""
    outliers, balancer = policy.outlier_detection, policy.load_balancer
    found: Json = {"healthy_panic_threshold": {"value": outliers.min_health_percent if outliers else 0}}
    if outliers and balancer and balancer.failover:
        found["locality_weighted_lb_config"] = {}
    return found


def _outlier_detection(outliers: OutlierDetection) -> Json:
    """Each reason is wholly in force or not at all. Rates of success are none of Istio's."""
    found: Json = {"enforcing_success_rate": 0}
    counts = {
        "consecutive_5xx": outliers.consecutive_5xx_errors,
        "consecutive_gateway_failure": outliers.consecutive_gateway_errors,
        "consecutive_local_origin_failure": outliers.consecutive_local_origin_failures,
    }
    for name, count in counts.items():
        if count is not None:
            found |= {name: count, f"enforcing_{name}": 100 if count else 0}
    if outliers.split_local_origin_errors:
        found |= {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0}
    if outliers.interval_s is not None:
        found["interval"] = duration(outliers.interval_s)
    if outliers.base_ejection_time_s is not None:
        found["base_ejection_time"] = duration(outliers.base_ejection_time_s)
    if outliers.max_ejection_percent:
        found["max_ejection_percent"] = outliers.max_ejection_percent
    return found
