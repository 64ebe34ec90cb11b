"""Routes of calls that leave a pod, and of those that come in at the edge.

The meaning is istiod's (TranslateRoute in istio/pilot/pkg/networking/core/route).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.localmesh.envoy.durations import duration
from tools.localmesh.envoy.ways import Way, edge_ways, mesh_ways, shares, target
from tools.localmesh.mesh import Json, Mesh, cluster_name, outbound_name, typed
from tools.localmesh.pods import Pod
from tools.localmesh.rules.faults import MILLION, Fault
from tools.localmesh.rules.gateways import Gateway, Server
from tools.localmesh.rules.http_routes import CorsPolicy, Destination, HeaderChanges, Headers, Retries
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.workloads import Service, ServicePort

DEFAULT_RETRIES = 2
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_ROUTE = "default"

_HOST_SELECTION_ATTEMPTS = 5
_MOST_BODY_BYTES = 1024 * 1024
_PREVIOUS_HOSTS: Json = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
}
_PREVIOUS_PRIORITIES: Json = {
    "name": "envoy.retry_priorities.previous_priorities",
    "typed_config": typed(
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=2
    ),
}


def outbound_routes(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> Json:
    """A RouteConfiguration for a pod's calls to a Service, whatever name it calls it by. Raises MeshError."""
    ways = mesh_ways(mesh, client, service, port)
    routes = [_route(mesh, client, way) for way in ways]
    host = _virtual_host(f"{service.host}:{port.number}", "*", routes or [_default(mesh, client, service, port)])
    return _configuration(outbound_name(client, service, port), [host])


def edge_routes(mesh: Mesh, pod: Pod, gateway: Gateway, server: Server) -> Json:
    """A RouteConfiguration for calls that come in at a server of a Gateway. Raises MeshError."""
    hosts = [
        _virtual_host(f"{host}:{server.number}", host, [_route(mesh, pod, way) for way in ways])
        for host, ways in edge_ways(mesh, pod, gateway, server).items()
    ]
    # Nobody is told where there is nothing: 404.
    hosts = hosts or [_virtual_host(f"blackhole:{server.number}", "*", [])]
    return _configuration(edge_name(pod, gateway, server), hosts)


def edge_name(pod: Pod, gateway: Gateway, server: Server) -> str:
    """Of the listener and of the route configuration."""
    return f"edge|{gateway.namespace}/{gateway.name}:{server.number}@{pod.name}"


def _configuration(name: str, hosts: Sequence[Json]) -> Json:
    return typed(
        "envoy.config.route.v3.RouteConfiguration",
        name=name,
        virtual_hosts=list(hosts),
        validate_clusters=False,
        max_direct_response_body_size_bytes=_MOST_BODY_BYTES,
        ignore_port_in_host_matching=True,
    )


def _virtual_host(name: str, domain: str, routes: Sequence[Json]) -> Json:
    return {"name": name, "domains": [domain], "routes": list(routes), "include_request_attempt_count": True}


def _default(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> Json:
    action = {"cluster": cluster_name(client, service, port), **_timeout(None), **_retry_policy(None)}
    route = {"name": DEFAULT_ROUTE, "match": {"prefix": "/"}, "route": action}
    fault = mesh.drills.get(service.host)
    return route | ({"typed_per_filter_config": _fault(fault)} if fault else {})


def _route(mesh: Mesh, client: Pod, way: Way) -> Json:
    route = way.route
    found: Json = {"name": way.name, "match": _match(way.match)}
    headers = route.headers or Headers()
    if route.direct_response:
        body = {"body": {"inline_string": route.direct_response.body}} if route.direct_response.body else {}
        found["direct_response"] = {"status": route.direct_response.status, **body}
        found |= _header_fields([headers])
    else:
        found["route"] = _action(mesh, client, way)
        single = [route.destinations[0].headers] if len(route.destinations) == 1 else []
        found |= _header_fields([headers, *single])
    drills = [mesh.drills[one.host] for one in route.destinations if one.host in mesh.drills]
    fault = drills[0] if drills else route.fault
    filters = {**(_fault(fault) if fault else {}), **(_cors(route.cors_policy) if route.cors_policy else {})}
    return found | ({"typed_per_filter_config": filters} if filters else {})


def _action(mesh: Mesh, client: Pod, way: Way) -> Json:
    route = way.route
    action = {
        **_clusters(mesh, client, way),
        **_timeout(route.timeout.seconds if route.timeout else None),
        **_retry_policy(route.retries),
    }
    if route.rewrite and route.rewrite.uri:
        action["prefix_rewrite"] = route.rewrite.uri
    if route.rewrite and route.rewrite.authority:
        action["host_rewrite_literal"] = route.rewrite.authority
    return action


def _clusters(mesh: Mesh, client: Pod, way: Way) -> Json:
    def name(destination: Destination) -> str:
        found = target(mesh.registry, way, destination)
        return cluster_name(client, found.service, found.port, found.subset)

    if len(way.route.destinations) == 1:
        return {"cluster": name(way.route.destinations[0])}
    weighted = [
        {"name": name(part), "weight": part.weight, **_header_fields([part.headers])} for part in shares(way.route)
    ]
    return {"weighted_clusters": {"clusters": weighted}}


def _timeout(seconds: float | None) -> Json:
    """A caller's grpc-timeout that is longer than the timeout is cut to it."""
    value = duration(seconds or 0)
    return {"timeout": value, "max_grpc_timeout": value}


def _retry_policy(retries: Retries | None) -> Json:
    if retries is None:
        retries = Retries(DEFAULT_RETRIES)
    if retries.attempts == 0:
        return {}
    policy: Json = {
        "retry_on": DEFAULT_RETRY_ON,
        "num_retries": retries.attempts,
        "host_selection_retry_max_attempts": _HOST_SELECTION_ATTEMPTS,
    }
    if retries.on:
        policy |= _retry_on(retries.on)
    if retries.ignore_previous_hosts:
        policy["retry_host_predicate"] = [_PREVIOUS_HOSTS]
    if retries.remote_localities:
        policy["retry_priority"] = _PREVIOUS_PRIORITIES
    if retries.per_try_timeout_s is not None:
        policy["per_try_timeout"] = duration(retries.per_try_timeout_s)
    if retries.backoff_s is not None:
        policy["retry_back_off"] = {"base_interval": duration(retries.backoff_s)}
    return {"retry_policy": policy}


def _retry_on(on: Sequence[str]) -> Json:
    """Codes are told apart from words, which then need one that says so."""
    codes = [int(word) for word in on if _is_code(word)]
    words = [word for word in on if not _is_code(word)]
    if not codes:
        return {"retry_on": ",".join(words)}
    if "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    return {"retry_on": ",".join(words), "retriable_status_codes": codes}


def _is_code(word: str) -> bool:
    """Whether it is a status of HTTP."""
    return word.isdigit()


def _match(match: Match | None) -> Json:
    if match is None:
        return {"prefix": "/"}
    found = {**_path(match.uri), "case_sensitive": not match.ignore_uri_case}
    headers = [_header(name, text) for name, text in match.headers.items()]
    headers += [_without_header(name, text) for name, text in match.without_headers.items()]
    headers.sort(key=lambda header: str(header["name"]))
    pseudo = {":method": match.method, ":authority": match.authority, ":scheme": match.scheme}
    headers += [_header(name, text) for name, text in pseudo.items() if text]
    if headers:
        found["headers"] = headers
    if match.query_parameters:
        found["query_parameters"] = [_header(name, text) for name, text in sorted(match.query_parameters.items())]
    return found


def _path(uri: TextMatch | None) -> Json:
    if uri is None:
        return {"prefix": "/"}
    if uri.how == How.REGEX:
        return {"safe_regex": {"regex": uri.value}}
    return {"path" if uri.how == How.EXACT else "prefix": uri.value}


def _header(name: str, text: TextMatch) -> Json:
    if text.how == How.PRESENT:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string(text)}


def _without_header(name: str, text: TextMatch) -> Json:
    """A header that is not there is empty to all but the question whether it is there."""
    found = {**_header(name, text), "invert_match": True}
    return found if text.how == How.PRESENT else found | {"treat_missing_header_as_empty": True}


def _string(text: TextMatch) -> Json:
    return {"safe_regex": {"regex": text.value}} if text.how == How.REGEX else {text.how.value: text.value}


def _header_fields(all_headers: Sequence[Headers]) -> Json:
    """Of a route or a share of it; of several the later come after."""
    found: Json = {}
    for side in ("request", "response"):
        changes: list[HeaderChanges] = [getattr(headers, side) for headers in all_headers]
        add = [option for change in changes for option in _options(change)]
        remove = [name for change in changes for name in change.remove]
        if add:
            found[f"{side}_headers_to_add"] = add
        if remove:
            found[f"{side}_headers_to_remove"] = remove
    return found


def _options(change: HeaderChanges) -> list[Json]:
    def options(headers: Mapping[str, str], action: str) -> list[Json]:
        return [{"header": {"key": name, "value": headers[name]}, "append_action": action} for name in sorted(headers)]

    return [
        *options(change.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
        *options(change.add, "APPEND_IF_EXISTS_OR_ADD"),
    ]


def _fault(fault: Fault) -> Json:
    found: Json = {}
    if fault.delay:
        found["delay"] = {"fixed_delay": duration(fault.delay.fixed_s), "percentage": _share(fault.delay.share)}
    if fault.abort:
        found["abort"] = {"percentage": _share(fault.abort.share)}
        if fault.abort.http_status is not None:
            found["abort"]["http_status"] = fault.abort.http_status
        else:
            found["abort"]["grpc_status"] = fault.abort.grpc_status
    return {"envoy.filters.http.fault": typed("envoy.extensions.filters.http.fault.v3.HTTPFault", **found)}


def _share(share: int) -> Json:
    assert 0 <= share <= MILLION
    return {"numerator": share, "denominator": "MILLION"}


def _cors(policy: CorsPolicy) -> Json:
    found: Json = {
        "allow_origin_string_match": [_string(origin) for origin in policy.allow_origins],
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "forward_not_matching_preflights": policy.forward_unmatched,
    }
    lists = ("allow_methods", "allow_headers", "expose_headers")
    found |= {name: ",".join(getattr(policy, name)) for name in lists if getattr(policy, name)}
    if policy.max_age_s is not None:
        found["max_age"] = str(policy.max_age_s)
    if policy.allow_credentials is not None:
        found["allow_credentials"] = policy.allow_credentials
    return {"envoy.filters.http.cors": typed("envoy.extensions.filters.http.cors.v3.CorsPolicy", **found)}
