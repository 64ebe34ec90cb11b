"""trafficPolicy of a DestinationRule, of a subset and of a port: each part replaces another's as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.durations import read_duration_s

_MOST = 2**31 - 1
BALANCERS = ("LEAST_REQUEST", "ROUND_ROBIN", "RANDOM")
_PARTS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")


@dataclass(frozen=True)
class Warmup:
    """A replica that is new gets its share by and by."""

    duration_s: float
    minimum_percent: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True)
class LoadBalancer:
    """`simple` is LEAST_REQUEST, ROUND_ROBIN or RANDOM. `locality`: with outlier detection, replicas of the client's
    own zone come first, then those of its region; `failover` says which region is next, by region."""

    place: Place = field(compare=False)
    path: str = field(default="", compare=False)
    simple: str = "LEAST_REQUEST"
    locality: bool = True
    failover: Mapping[str, str] = field(default_factory=dict)
    warmup: Warmup | None = None


@dataclass(frozen=True)
class ConnectionPool:
    """Bounds of what one client has towards the host; 0 and None leave Istio's defaults, which are none."""

    place: Place = field(compare=False)
    max_connections: int = 0
    connect_timeout_s: float | None = None
    max_connection_duration_s: float | None = None
    http2_max_requests: int = 0
    http1_max_pending_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    max_concurrent_streams: int = 0
    idle_timeout_s: float | None = None


@dataclass(frozen=True)
class OutlierDetection:
    """When a replica is left out for a while. None is Envoy's default, an error count of 0 is never for that reason."""

    place: Place = field(compare=False)
    consecutive_5xx_errors: int | None = None
    consecutive_gateway_errors: int | None = None
    consecutive_local_origin_failures: int | None = None
    split_local_origin_errors: bool = False
    interval_s: float | None = None
    base_ejection_time_s: float | None = None
    max_ejection_percent: int = 0
    min_health_percent: int = 0


@dataclass(frozen=True)
class RetryBudget:
    """How many of the calls may be retries at a time."""

    place: Place = field(compare=False)
    percent: float = 20.0
    min_retry_concurrency: int = 3
    budget_interval_s: float | None = None


@dataclass(frozen=True)
class Tls:
    """`mode` is ISTIO_MUTUAL or DISABLE."""

    mode: str
    place: Place = field(compare=False)
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class TrafficPolicy:
    """What is not written is None. `ports`: what replaces all of it for one port of the Service."""

    place: Place | None = field(default=None, compare=False)
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Tls | None = None
    retry_budget: RetryBudget | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)

    def of_port(self, number: int) -> TrafficPolicy:
        """What holds for a port of the Service."""
        return self.ports.get(number, replace(self, ports={}))


def read_traffic_policy(node: Node) -> TrafficPolicy:
    """Raises MeshError."""
    fields = node.fields(*_PARTS, "retryBudget", "portLevelSettings")
    policy = _parts(node, fields)
    if "retryBudget" in fields:
        policy = replace(policy, retry_budget=_retry_budget(fields["retryBudget"]))
    ports: dict[int, TrafficPolicy] = {}
    for item in fields["portLevelSettings"].items() if "portLevelSettings" in fields else ():
        settings = item.fields(*_PARTS, required=("port",))
        port = settings["port"].fields(required=("number",))["number"]
        number = port.integer(1, 65535)
        if number in ports:
            raise port.problem(f"{number} is there twice; keep one")
        ports[number] = _parts(item, {name: part for name, part in settings.items() if name != "port"})
    return replace(policy, ports=ports)


def _parts(node: Node, fields: Mapping[str, Node]) -> TrafficPolicy:
    if not fields:
        raise node.problem("must not be empty; leave it out")
    return TrafficPolicy(
        node.place,
        _load_balancer(fields["loadBalancer"]) if "loadBalancer" in fields else None,
        _connection_pool(fields["connectionPool"]) if "connectionPool" in fields else None,
        _outlier_detection(fields["outlierDetection"]) if "outlierDetection" in fields else None,
        _tls(fields["tls"]) if "tls" in fields else None,
    )


def _load_balancer(node: Node) -> LoadBalancer:
    fields = node.fields("simple", "localityLbSetting", "warmup")
    if "simple" in fields and fields["simple"].text() == "LEAST_CONN":
        raise fields["simple"].problem("LEAST_CONN is the old name of LEAST_REQUEST; write that")
    simple = fields["simple"].choice(*BALANCERS) if "simple" in fields else BALANCERS[0]
    warmup = _warmup(fields["warmup"]) if "warmup" in fields else None
    if warmup and simple == "RANDOM":
        raise fields["warmup"].problem("has no meaning with RANDOM; balance by LEAST_REQUEST or ROUND_ROBIN")
    locality = fields["localityLbSetting"].fields("enabled", "failover") if "localityLbSetting" in fields else {}
    enabled = locality["enabled"].flag() if "enabled" in locality else True
    failover = _failover(locality["failover"]) if "failover" in locality else {}
    if failover and not enabled:
        raise locality["failover"].problem("has no meaning with enabled: false; remove one")
    return LoadBalancer(node.place, node.path, simple, enabled, failover, warmup)


def _failover(node: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in node.items():
        fields = item.fields(required=("from", "to"))
        for value in fields.values():
            if "/" in value.text() or "*" in value.text():
                raise value.problem(f"{value.text()!r} is no region; failover is from region to region")
        here, there = fields["from"].text(), fields["to"].text()
        if here == there:
            raise item.problem("from and to are the same region; name another")
        if here in found:
            raise item.problem(f"there is another from {here}, and Istio takes the first; remove one")
        found[here] = there
    return found


def _warmup(node: Node) -> Warmup:
    fields = node.fields("minimumPercent", "aggression", required=("duration",))
    default = Warmup(read_duration_s(fields["duration"]))
    return replace(
        default,
        minimum_percent=fields["minimumPercent"].number(0, 100) if "minimumPercent" in fields else 10.0,
        aggression=fields["aggression"].number(0.001, 1000) if "aggression" in fields else 1.0,
    )


def _connection_pool(node: Node) -> ConnectionPool:
    fields = node.fields("tcp", "http")
    if not fields:
        raise node.problem("needs tcp, http or both")
    tcp = fields["tcp"].fields("maxConnections", "connectTimeout", "maxConnectionDuration") if "tcp" in fields else {}
    http: Mapping[str, Node] = {}
    if "http" in fields:
        http = fields["http"].fields(
            *("http2MaxRequests", "http1MaxPendingRequests", "maxRequestsPerConnection", "maxRetries"),
            *("maxConcurrentStreams", "idleTimeout"),
        )
    return ConnectionPool(
        node.place,
        _count(tcp, "maxConnections"),
        _duration_s(tcp, "connectTimeout"),
        _duration_s(tcp, "maxConnectionDuration"),
        _count(http, "http2MaxRequests"),
        _count(http, "http1MaxPendingRequests"),
        _count(http, "maxRequestsPerConnection"),
        _count(http, "maxRetries"),
        _count(http, "maxConcurrentStreams"),
        _duration_s(http, "idleTimeout"),
    )


def _count(fields: Mapping[str, Node], name: str) -> int:
    """0 is no bound in Istio, which nobody expects who writes it."""
    if name not in fields:
        return 0
    value = fields[name].integer(0, _MOST)
    if value == 0:
        raise fields[name].problem("0 means no bound to Istio; write 1 or more, or leave it out")
    return value


def _duration_s(fields: Mapping[str, Node], name: str) -> float | None:
    return read_duration_s(fields[name]) if name in fields else None


def _outlier_detection(node: Node) -> OutlierDetection:
    fields = node.fields(
        *("consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures", "interval"),
        *("splitExternalLocalOriginErrors", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent"),
    )
    split = "splitExternalLocalOriginErrors" in fields and fields["splitExternalLocalOriginErrors"].flag()
    if "consecutiveLocalOriginFailures" in fields and not split:
        raise fields["consecutiveLocalOriginFailures"].problem("needs splitExternalLocalOriginErrors: true beside it")

    def errors(name: str) -> int | None:
        return fields[name].integer(0, 2**32 - 1) if name in fields else None

    return OutlierDetection(
        node.place,
        errors("consecutive5xxErrors"),
        errors("consecutiveGatewayErrors"),
        _count(fields, "consecutiveLocalOriginFailures") or None,
        split,
        _duration_s(fields, "interval"),
        _duration_s(fields, "baseEjectionTime"),
        _percent(fields, "maxEjectionPercent", least=1),
        _percent(fields, "minHealthPercent", least=0),
    )


def _percent(fields: Mapping[str, Node], name: str, least: int) -> int:
    return fields[name].integer(least, 100) if name in fields else 0


def _retry_budget(node: Node) -> RetryBudget:
    fields = node.fields("percent", "minRetryConcurrency", "budgetInterval")
    return RetryBudget(
        node.place,
        fields["percent"].number(0, 100) if "percent" in fields else 20.0,
        _count(fields, "minRetryConcurrency") or 3,
        _duration_s(fields, "budgetInterval"),
    )


def _tls(node: Node) -> Tls:
    fields = node.fields(required=("mode",))
    return Tls(fields["mode"].choice("ISTIO_MUTUAL", "DISABLE"), node.place, node.path)
