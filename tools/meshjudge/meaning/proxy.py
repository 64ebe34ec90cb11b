"""What one proxy's configuration means: to whom its calls go and how, and which calls it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tools.meshjudge.meaning.clusters import cluster_meaning, process_meaning
from tools.meshjudge.meaning.ignored import IGNORED_OF_ISTIOD
from tools.meshjudge.meaning.listeners import Manager, host_named, inbound_chain, manager_of, only_host
from tools.meshjudge.meaning.message import UnreadError, reading
from tools.meshjudge.meaning.routes import destination, referred
from tools.meshjudge.meaning.transport import PLAIN_TEXT

Json = dict[str, Any]
Meaning = dict[str, Any]
"""outbound (by HOST:PORT), clusters (by HOST:PORT/SUBSET), inbound (by port), edge (by server)."""

INBOUND = "virtualInbound"


def sidecar_meaning(
    given: Mapping[str, list[Json]], dials: Iterable[tuple[str, int]], names: Mapping[str, str]
) -> Meaning:
    """Of what istiod gave to a pod's sidecar. `dials` are the hosts and ports that its process is told to dial."""
    routes = {each["name"]: each for each in given["routes"]}
    listeners = {each["name"]: each for each in given["listeners"]}
    outbound = {}
    for host, port in dials:
        listener = listeners.get(f"0.0.0.0_{port}")
        config = manager_of(listener["filter_chains"][0]) if listener else None
        if config is None:
            raise UnreadError(f"no HTTP listener for port {port}")
        outbound[f"{host}:{port}"] = outbound_meaning(config, routes, host)
    inbound = _inbound_by_port(listeners[INBOUND], routes, {each["name"]: each for each in given["clusters"]})
    return {"outbound": outbound, "clusters": clusters_meaning(given, outbound.values(), names), "inbound": inbound}


def router_meaning(given: Mapping[str, list[Json]], names: Mapping[str, str]) -> Meaning:
    """Of what istiod gave to a gateway."""
    routes = {each["name"]: each for each in given["routes"]}
    servers = {}
    for listener in given["listeners"]:
        with reading("Listener", listener) as message:
            (filter_chain,) = message.take("filter_chains")
            number = message.take("address")["socket_address"]["port_value"]
        servers[str(number)] = inbound_chain(filter_chain, routes)
    return edge_meaning(servers) | {"clusters": clusters_meaning(given, servers.values(), names)}


def outbound_meaning(config: Json, routes: Mapping[str, Json], host: str | None) -> Json:
    """Of the way to a Service; `host` picks its virtual host, None the only one."""
    manager = Manager(config, routes, host_named(host) if host else only_host)
    return {"filters": manager.chain(), "routes": manager.routes(), **manager.manner}


def edge_meaning(servers: Mapping[str, Json]) -> Meaning:
    """Of the edge's servers, by their ports. Servers that route alike are told together.
    istiod lists them in any order."""
    ways: list[tuple[list[str], Any]] = []
    for number, server in sorted(servers.items()):
        routes = server["routes"]
        same = next((numbers for numbers, other in ways if other == routes), None)
        if same is None:
            ways.append(([number], routes))
        else:
            same.append(number)
    return {
        "edge": {
            number: {name: each for name, each in server.items() if name != "routes"}
            for number, server in servers.items()
        },
        "edge routes": {" and ".join(numbers): routes for numbers, routes in ways},
    }


def inbound_meaning(chains: Iterable[Json], routes: Mapping[str, Json], clusters: Mapping[str, Json]) -> Json:
    """Of the ways of taking calls to one port, by what the first bytes of a connection are."""
    found: Json = {}
    for each in chains:
        match = dict(each.get("filter_chain_match", {}))
        match.pop("destination_port", None)
        meaning = inbound_chain(each, routes)
        # Without TLS inspected, a chain with TLS takes nothing else.
        plain = "raw_buffer" if meaning["transport"] == PLAIN_TEXT else "tls"
        way = match.pop("transport_protocol", plain)
        meaning["protocols"] = match.pop("application_protocols", [])
        if match:
            raise UnreadError(f"a filter chain is chosen by {match}")
        (route,) = meaning.pop("routes")
        meaning["route"] = {name: value for name, value in route.items() if name not in ("to", "match")}
        if way in found:
            raise UnreadError(f"two filter chains for {way}")
        found[way] = meaning
        found["to process"] = process_meaning(clusters[route["to"][0]])
    return found


def _inbound_by_port(listener: Json, routes: Mapping[str, Json], clusters: Mapping[str, Json]) -> Json:
    with reading("Listener", listener) as message:
        chains = [each for each in message.take("filter_chains") if each.get("name") not in IGNORED_OF_ISTIOD]
    ports = sorted({each["filter_chain_match"]["destination_port"] for each in chains})
    by_port = {
        port: [each for each in chains if each["filter_chain_match"]["destination_port"] == port] for port in ports
    }
    return {str(port): inbound_meaning(by_port[port], routes, clusters) for port in ports}


def clusters_meaning(given: Mapping[str, list[Json]], users: Iterable[Json], names: Mapping[str, str]) -> Json:
    """Those that a route names: to others no call can go."""
    wanted = {name for user in users for name in referred(user["routes"])}
    endpoints = {each["cluster_name"]: each for each in given["endpoints"]}
    clusters = {destination(each["name"]): each for each in given["clusters"] if each["name"].startswith("outbound|")}
    found = {}
    for name in sorted(wanted):
        if name not in clusters:
            found[name] = {"missing": True}
            continue
        cluster = clusters[name]
        service = cluster.get("eds_cluster_config", {}).get("service_name", cluster["name"])
        found[name] = cluster_meaning(cluster, endpoints.get(service), names)
    return found
