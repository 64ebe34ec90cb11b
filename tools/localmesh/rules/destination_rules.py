"""DestinationRule: how calls are spread over the replicas of a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.localmesh.documents import Document
from tools.localmesh.problems import Place


@dataclass(frozen=True)
class Warmup:
    """A replica that is new gets its share by and by."""

    duration_s: float
    minimum_percent: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True)
class LoadBalancer:
    """`simple` is LEAST_REQUEST, ROUND_ROBIN or RANDOM; None is Istio's default. `locality` None is not written,
    which means true; `failover` is from region to region."""

    place: Place = field(compare=False)
    simple: str | None = None
    locality: bool | None = None
    failover: Mapping[str, str] = field(default_factory=dict)
    warmup: Warmup | None = None


@dataclass(frozen=True)
class ConnectionPool:
    """0 and None are Istio's defaults."""

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
    """When a replica is left out for a while; None is Envoy's default, 0 never for that reason."""

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


@dataclass(frozen=True)
class TrafficPolicy:
    """Each part says where it was written. `ports`: what replaces it for one port of the Service."""

    place: Place = field(compare=False)
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Tls | None = None
    retry_budget: RetryBudget | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)


@dataclass(frozen=True)
class Subset:
    """The replicas with these labels (none: all)."""

    name: str
    labels: Mapping[str, str]
    place: Place = field(compare=False)
    policy: TrafficPolicy | None = None


@dataclass(frozen=True)
class DestinationRule:
    """For a host, which is a full name."""

    name: str
    namespace: str
    host: str
    place: Place = field(compare=False)
    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    private: bool = False

    def subset(self, name: str) -> Subset | None:
        """By its name."""
        return next((subset for subset in self.subsets if subset.name == name), None)


def read_destination_rule(document: Document) -> DestinationRule:
    """Raises MeshError."""
    raise NotImplementedError
