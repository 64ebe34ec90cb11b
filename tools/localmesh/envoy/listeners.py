"""Where calls come in: from a pod's own process, from other pods, and from outside.

Of what rules change, listeners hold only whether TLS is spoken: routes, faults and authorization come by RDS, because
Envoy ends the streams of a listener that changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.localmesh.envoy.access_log import failed_calls, refused_callers
from tools.localmesh.envoy.clusters import CONNECT_TIMEOUT_S, OPTIONS, protocol_options, thresholds, traffic_policy
from tools.localmesh.envoy.durations import duration
from tools.localmesh.envoy.rbac import rbac_filters, rbac_per_route
from tools.localmesh.envoy.routes import edge_routes
from tools.localmesh.envoy.sources import CONFIG_SOURCE
from tools.localmesh.envoy.tls import MESH_PROTOCOLS, downstream_socket, edge_socket
from tools.localmesh.envoy.ways import Target
from tools.localmesh.mesh import Json, Mesh, inbound_cluster_name, inbound_name, outbound_name, typed
from tools.localmesh.pods import Pod, inbound_address, outbound_address
from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.envoy_filters import MANAGER, InsertedFilter, MergedManager, Patch
from tools.localmesh.rules.gateways import Gateway, Server
from tools.localmesh.rules.peer_authentication import Mode, effective
from tools.localmesh.workloads import Service, ServicePort

LISTENER = "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
CLUSTER = "envoy.config.cluster.v3.Cluster"

_FILTERS = "envoy.extensions.filters.http"
_FAULT: Json = {"name": "envoy.filters.http.fault", "typed_config": typed(f"{_FILTERS}.fault.v3.HTTPFault")}
_CORS: Json = {"name": "envoy.filters.http.cors", "typed_config": typed(f"{_FILTERS}.cors.v3.Cors")}
# Whom Envoy lets set headers of its own, such as a timeout. Callers from outside are on this machine too, and an empty
# list is Envoy's default, which has them in it; so it is an address that nobody has (RFC 5737).
_NOBODY: Json = {"cidr_ranges": [{"address_prefix": "192.0.2.1", "prefix_len": 32}]}
# Tells which of two chains a connection is for, and authorization the server's name.
_TLS_INSPECTOR: Json = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
}
_ROUTER: Json = {"name": "envoy.filters.http.router", "typed_config": typed(f"{_FILTERS}.router.v3.Router")}


def inbound(mesh: Mesh, pod: Pod, service: Service, port: ServicePort) -> tuple[Json, Json, Json]:
    """The listener for other pods' calls to a port of the pod's Service, its routes, and the cluster that is the pod's
    own process. Raises MeshError where it is not clear whether TLS is wanted."""
    name = inbound_name(pod, port)
    listener = _listener(name, "INBOUND", inbound_address(pod, port))
    manager = _manager(
        mesh,
        name,
        [*rbac_filters(), _FAULT, _CORS, _ROUTER],
        use_remote_address=False,
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
    )
    mode = effective(mesh.rules.peer_authentications, pod.workload, port.target).mode
    listener["listener_filters"] = [_TLS_INSPECTOR]
    listener["filter_chains"] = _chains(mesh, pod, mode, manager)
    return listener, _inbound_routes(mesh, pod, service, port), _own_process(mesh, pod, service, port)


def outbound(mesh: Mesh, client: Pod, service: Service, port: ServicePort) -> Json:
    """The listener for the pod's own calls to a Service."""
    name = outbound_name(client, service, port)
    listener = _listener(name, "OUTBOUND", outbound_address(mesh.registry, client, service, port))
    manager = _manager(mesh, name, [_FAULT, _CORS, _ROUTER], use_remote_address=False)
    listener["filter_chains"] = [_chain("plain", manager)]
    return listener


def edge(mesh: Mesh, pod: Pod, gateway: Gateway) -> tuple[Json, list[Json]]:
    """The listener for calls from outside, and its routes. Raises MeshError where not exactly one server of the Gateway
    is what `mesh.edge` asks for, or where it is not clear in which order filters are."""
    server = _server(mesh, gateway)
    address, _, number = mesh.edge.listen.rpartition(":")
    routes = edge_routes(mesh, pod, gateway, server)
    routes["typed_per_filter_config"] = rbac_per_route(mesh, pod, server.number, int(number))
    name = routes["name"]
    patches = _patches(mesh, pod)
    inserted = [dict(patch.value) for patch in patches if isinstance(patch, InsertedFilter)]
    manager = _manager(
        mesh,
        name,
        [*rbac_filters(), _FAULT, _CORS, *inserted, _ROUTER],
        use_remote_address=True,
        internal_address_config=_NOBODY,
        forward_client_cert_details="SANITIZE",
    )
    for patch in patches:
        if isinstance(patch, MergedManager):
            manager = _merged(manager, patch)
    listener = _listener(name, "OUTBOUND", (address.strip("[]"), int(number)))
    chain = _chain("edge", manager)
    if server.https:
        chain["transport_socket"] = edge_socket(mesh, server.least_tls)
        listener["listener_filters"] = [_TLS_INSPECTOR]
    listener["filter_chains"] = [chain]
    return listener, [routes]


def _manager(mesh: Mesh, name: str, filters: Sequence[Json], **fields: Any) -> Json:
    """An HTTP connection manager with the routes of that name. Streams may be idle for as long as they like."""
    return typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        rds={"route_config_name": name, "config_source": CONFIG_SOURCE},
        http_filters=list(filters),
        access_log=failed_calls(name),
        stream_idle_timeout="0s",
        # Authorization looks at the path that the service will see.
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        server_name="istio-envoy",
        **fields,
    )


def _listener(name: str, direction: str, address: tuple[str, int]) -> Json:
    return typed(
        LISTENER,
        name=name,
        traffic_direction=direction,
        address={"socket_address": {"address": address[0], "port_value": address[1]}},
        access_log=refused_callers(name),
        # Else two proxies could share an address, and nobody would be told.
        enable_reuse_port=False,
    )


def _chains(mesh: Mesh, pod: Pod, mode: Mode, manager: Json) -> list[Json]:
    plain = _chain("plain", manager)
    if mode is Mode.DISABLE:
        return [plain]
    mutual = _chain("mutual-tls", manager) | {"transport_socket": downstream_socket(mesh, pod)}
    if mode is Mode.STRICT:
        return [mutual]
    mutual["filter_chain_match"] = {"transport_protocol": "tls", "application_protocols": list(MESH_PROTOCOLS)}
    return [mutual, plain | {"filter_chain_match": {"transport_protocol": "raw_buffer"}}]


def _chain(name: str, manager: Json) -> Json:
    filters = [{"name": MANAGER, "typed_config": manager}]
    return {"name": name, "filters": filters, "transport_socket_connect_timeout": "15s"}


def _inbound_routes(mesh: Mesh, pod: Pod, service: Service, port: ServicePort) -> Json:
    """Everything to the pod's own process, for as long as the caller waits for it."""
    route = {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": f"{service.host}:{port.number}/*"},
        "route": {
            "cluster": inbound_cluster_name(pod, port),
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
        },
    }
    return typed(
        ROUTE_CONFIGURATION,
        name=inbound_name(pod, port),
        virtual_hosts=[{"name": f"inbound|http|{port.target}", "domains": ["*"], "routes": [route]}],
        validate_clusters=False,
        typed_per_filter_config=rbac_per_route(mesh, pod, port.target),
    )


def _own_process(mesh: Mesh, pod: Pod, service: Service, port: ServicePort) -> Json:
    """Of a DestinationRule, its connection pool holds here too."""
    policy = traffic_policy(mesh, pod, Target(service, port))
    pool = policy.connection_pool
    name = inbound_cluster_name(pod, port)
    address, _, number = pod.app.rpartition(":")
    endpoint = {"address": {"socket_address": {"address": address.strip("[]"), "port_value": int(number)}}}
    return typed(
        CLUSTER,
        name=name,
        type="STATIC",
        connect_timeout=duration((pool and pool.connect_timeout_s) or CONNECT_TIMEOUT_S),
        circuit_breakers={"thresholds": [thresholds(pool, policy.retry_budget)]},
        typed_extension_protocol_options={OPTIONS: protocol_options(port, pool)},
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    )


def _server(mesh: Mesh, gateway: Gateway) -> Server:
    """The one that a laptop serves: with TLS where it was given a certificate."""
    https = mesh.edge.certificate is not None
    found = [server for server in gateway.servers if server.https is https]
    if len(found) != 1:
        kind = "HTTPS server, as there is a certificate" if https else "plain server, as there is no certificate"
        text = f"has {len(found)} servers of the kind wanted: one {kind}; a laptop listens on one"
        raise MeshError([Problem(gateway.place, "spec.servers", text)])
    return found[0]


def _patches(mesh: Mesh, pod: Pod) -> list[Patch]:
    """Of all EnvoyFilters for the pod. In which order those of several are used, files do not tell."""
    workload = pod.workload
    selecting = [one for one in mesh.rules.envoy_filters if one.selects(workload.namespace, workload.labels)]
    if len(selecting) > 1:
        first, second = selecting[:2]
        text = f"{second.name} and {first.name} ({first.place}) are both for {workload.name}; make them one"
        raise MeshError([Problem(second.place, "spec", text)])
    return [patch for one in selecting for patch in one.patches]


def _merged(manager: Json, patch: MergedManager) -> Json:
    """Plain values replace; of messages and lists there is none in both, so nothing in them needs to be merged."""
    twice = [name for name, value in patch.value.items() if name in manager and isinstance(value, dict | list)]
    if twice:
        raise MeshError([Problem(patch.place, twice[0], "is merged by two patches; make them one")])
    return {**manager, **patch.value}
