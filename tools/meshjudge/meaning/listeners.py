"""What listeners do with a connection, up to the routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.meshjudge.meaning.authorization import authorization
from tools.meshjudge.meaning.filters import chain, plain_config
from tools.meshjudge.meaning.message import UnreadError, compact, reading, type_of
from tools.meshjudge.meaning.routes import route_meanings
from tools.meshjudge.meaning.transport import downstream
from tools.meshjudge.meaning.values import duration, header_options

STREAM_IDLE_TIMEOUT = "300s"
"""Envoy's, where none is said."""

_NOBODY = {"cidr_ranges": [{"address_prefix": "192.0.2.1", "prefix_len": 32}]}
"""An address of documentation (RFC 5737): an empty list would be Envoy's own, of all private networks."""

Choose = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Of a route configuration, the virtual host that is meant."""


class Manager:
    """An HTTP connection manager and the virtual host behind it."""

    def __init__(self, config: dict[str, Any], routes: Mapping[str, dict[str, Any]], choose: Choose) -> None:
        with reading("HttpConnectionManager", config) as message:
            self.filters = message.take("http_filters")
            route_configuration = message.take("route_config")
            if route_configuration is None:
                route_configuration = routes[message.take("rds")["route_config_name"]]
            self._read_rest(message)
        with reading("RouteConfiguration", route_configuration) as message:
            hosts = message.take("virtual_hosts", ())
            above = message.take("typed_per_filter_config", {})
        host = choose({"virtual_hosts": hosts})
        if host is not None:
            host = {**host, "typed_per_filter_config": {**above, **host.get("typed_per_filter_config", {})}}
        self.host = host

    def _read_rest(self, message: Any) -> None:
        idle = duration(message.take("stream_idle_timeout"), STREAM_IDLE_TIMEOUT)
        slashes = message.take("path_with_escaped_slashes_action", "KEEP_UNCHANGED")
        certificate = message.take("forward_client_cert_details", "SANITIZE")
        details = sorted(name for name, value in message.take("set_current_client_cert_details", {}).items() if value)
        http2 = message.take("http2_protocol_options", {})
        self.manner = compact(
            stream_idle_timeout=None if idle == "0s" else idle,
            normalizes_path=message.take("normalize_path", False),
            merges_slashes=message.take("merge_slashes", False),
            escaped_slashes=None if slashes == "KEEP_UNCHANGED" else slashes,
            tells_client_certificate=None if certificate == "SANITIZE" else f"{certificate} {' '.join(details)}",
            trusts_own_address=message.take("use_remote_address", False),
            trusted_hops=message.take("xff_num_trusted_hops", 0),
            authority=_authority(message.take("early_header_mutation_extensions", ())),
            internal_addresses="none" if message.take("internal_address_config") == _NOBODY else None,
            keeps_request_id=message.take("preserve_external_request_id", False),
            answers_request_id=message.take("always_set_request_id_in_response", False),
            local_replies=plain_config(message.take("local_reply_config")),
            strips_port=message.take("strip_any_host_port"),
            http1=message.take("http_protocol_options") or None,
            http2=http2 or None,
            common=message.take("common_http_protocol_options"),
            request_timeout=duration(message.take("request_timeout")),
            request_headers_timeout=duration(message.take("request_headers_timeout")),
            max_request_headers_kb=message.take("max_request_headers_kb"),
            drain_timeout=duration(message.take("drain_timeout")),
        )

    def routes(self) -> list[dict[str, Any]]:
        """Of the virtual host, with what its routes need in the chain being there."""
        if self.host is None:
            return []
        known = {each["name"] for each in self.filters}
        for route in [self.host, *self.host.get("routes", ())]:
            if lost := set(route.get("typed_per_filter_config", ())) - known:
                raise UnreadError(f"a route configures {sorted(lost)}, which the chain does not have")
        return route_meanings(self.host)

    def authorization(self) -> list[dict[str, Any]]:
        """The same for all routes."""
        host = self.host or {}
        above = host.get("typed_per_filter_config", {})
        found = []
        for route in host.get("routes", [{}]):
            rules = authorization(self.filters, {**above, **route.get("typed_per_filter_config", {})})
            if rules not in found:
                found.append(rules)
        if len(found) > 1:
            raise UnreadError("routes of one port with different authorization")
        return found[0]

    def chain(self) -> list[Any]:
        """The filters before the router."""
        return chain(self.filters, bool(self.authorization()))


def _authority(mutations: Sequence[dict[str, Any]]) -> str | None:
    """What the call's :authority is made before anything looks at it."""
    found = None
    for each in mutations:
        with reading("TypedExtension", each) as message:
            config = message.take("typed_config")
        with reading("HeaderMutation", config) as message:
            for mutation in message.take("mutations"):
                (option,) = header_options([mutation["append"]])
                name, _, found = option.partition(" := ")
                if name != ":authority":
                    raise UnreadError(f"an early mutation of {option}")
    return found


def manager_of(filter_chain: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration of the chain's HTTP connection manager, None where there is another filter in its place.
    Raises UnreadError for filters before it: they would look at the connection too."""
    configs = [each.get("typed_config", {}) for each in filter_chain.get("filters", ())]
    if not configs or type_of(configs[-1]) != "HttpConnectionManager":
        return None
    *before, config = configs
    if before:
        raise UnreadError(f"network filters before the HTTP connection manager: {list(map(type_of, before))}")
    return dict(config)


def only_host(route_configuration: dict[str, Any]) -> dict[str, Any] | None:
    """For ports with one virtual host."""
    hosts: list[dict[str, Any]] = route_configuration["virtual_hosts"]
    if len(hosts) != 1:
        raise UnreadError(f"virtual hosts for names apart: {[host['domains'] for host in hosts]}")
    return hosts[0]


def host_named(host: str) -> Choose:
    """Of those of a sidecar, which are for names apart, that for a Service: it is for all calls that dial it."""

    def choose(route_configuration: dict[str, Any]) -> dict[str, Any] | None:
        hosts: list[dict[str, Any]] = route_configuration["virtual_hosts"]
        return next(({**each, "domains": ["*"]} for each in hosts if host in each["domains"]), None)

    return choose


def inbound_chain(filter_chain: dict[str, Any], routes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One way of taking calls to a port: what the caller must show, and what it may then do."""
    with reading("FilterChain", filter_chain) as message:
        message.take("filter_chain_match")
        transport = downstream(message.take("transport_socket"))
        config = manager_of({"filters": message.take("filters")})
    if config is None:
        raise UnreadError("an inbound chain that is not HTTP")
    manager = Manager(config, routes, only_host)
    return {
        "transport": transport,
        "authorization": manager.authorization(),
        "filters": manager.chain(),
        "routes": manager.routes(),
        **manager.manner,
    }
