"""What each thing that Envoy does for a hop costs: `python -m tools.bench.mesh_variants`.

Beside the Envoy of a whole stack others run that do the same for the same services, each but for one thing. The
gateway's calls go through each of them to inference, in turns, each round in another order; of the rounds those count
in which others used the least of the machine. Prints a table in Markdown: processor time of Envoy a call, and its ratio
to the first row's within a round. "As it is" is there twice: how far the two are apart is what chance does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from libs.parts.envoy import start_envoy
from libs.parts.processes import free_port
from tools.bench.callers import CallersProcess, callers
from tools.bench.mesh_stack import BenchStack, running_stack
from tools.bench.mesh_ways import Comparison, between_services
from tools.bench.ways import Measured, Others, Way, turn
from tools.localmesh.envoy.clusters import OPTIONS
from tools.stack.mesh import FOLDER
from tools.stack.options import Options

Json = dict[str, Any]
Change = Callable[[Json], object]
MANAGER, CLUSTER, LISTENER = "HttpConnectionManager", "config.cluster.v3.Cluster", "config.listener.v3.Listener"
MANY_BYTES = 1 << 20


def _messages(kind: str, change: Change) -> Change:
    """The change, to messages of a type alone."""
    return lambda message: change(message) if str(message.get("@type", "")).endswith(kind) else None


def _without(*names: str) -> Change:
    """No such fields, in any message."""
    return lambda message: [message.pop(name, None) for name in names]


def _without_filters(*names: str) -> Change:
    def change(manager: Json) -> None:
        manager["http_filters"] = [one for one in manager["http_filters"] if one["name"].split(".")[-1] not in names]

    return _messages(MANAGER, change)


def _without_authorization(message: Json) -> None:
    message.get("typed_per_filter_config", {}).pop("envoy.filters.http.rbac", None)
    _without_filters("rbac")(message)


def _plain_text(message: Json) -> None:
    """Nobody is known then: no authorization either."""
    message.pop("transport_socket", None)
    _messages(LISTENER, _without("listener_filters"))(message)
    _without_authorization(message)


def _windows(message: Json) -> None:
    wide = {"initial_stream_window_size": MANY_BYTES, "initial_connection_window_size": 16 * MANY_BYTES}
    _messages(MANAGER, lambda manager: manager.update(http2_protocol_options=wide))(message)
    if str(message.get("@type", "")).endswith(CLUSTER):
        spoken = message["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]
        spoken["http2_protocol_options"] = {**spoken.get("http2_protocol_options", {}), **wide}


def _least(message: Json) -> None:
    """Mutual TLS and routes, nothing else."""
    _without("access_log", "outlier_detection", "set_current_client_cert_details")(message)
    _without_authorization(message)
    _without_filters("fault", "cors")(message)
    _messages(MANAGER, lambda manager: manager.update(generate_request_id=False, normalize_path=False))(message)


def _as_it_is(message: Json) -> None:
    return None


@dataclass(frozen=True)
class Variant:
    """`change` is called with every message of listeners, routes and clusters, `bootstrap` with the bootstrap."""

    change: Change = _as_it_is
    bootstrap: Change = _as_it_is
    concurrency: int = 1


VARIANTS: Mapping[str, Variant] = {
    "as it is": Variant(),
    "as it is, again": Variant(),
    "two workers": Variant(concurrency=2),
    "no access log": Variant(_without("access_log")),
    "no statistics": Variant(bootstrap=lambda boot: boot.update(stats_config={"stats_matcher": {"reject_all": True}})),
    "all of Envoy's statistics": Variant(bootstrap=_without("stats_config")),
    "no filters for faults and CORS": Variant(_without_filters("fault", "cors")),
    "no authorization": Variant(_without_authorization),
    "no outlier detection": Variant(_without("outlier_detection")),
    "HTTP/2 windows of 1 and 16 MiB": Variant(_windows),
    "plain text, no authorization": Variant(_plain_text),
    "mutual TLS and routes, nothing else": Variant(_least),
}


def static_bootstrap(stack: BenchStack, prefix: str, variant: Variant) -> Json:
    """The stack's own resources in one file, at addresses that begin with `prefix`, and at a free port for the edge."""
    folder = stack.stack.folder(FOLDER)
    edge, port, there = stack.entry.rpartition(":")[2], free_port(), stack.address_prefix()

    def moved(node: Any) -> Any:
        if isinstance(node, list):
            return [moved(one) for one in node]
        if not isinstance(node, dict):
            return node.replace(there, prefix) if isinstance(node, str) else node
        at_edge = str(node.get("port_value")) == edge
        return {name: port if at_edge and name == "port_value" else moved(value) for name, value in node.items()}

    def read(pattern: str) -> list[Json]:
        files = sorted((folder / "xds").glob(pattern))
        return [moved(resource) for file in files for resource in json.loads(file.read_text())["resources"]]

    routes = {one["name"]: _untyped(one) for one in read("rds/*.json")}
    endpoints = {one["cluster_name"]: _untyped(one) for one in read("eds/*.json")}

    def inline(message: Json) -> None:
        if "rds" in message:
            message["route_config"] = routes[message.pop("rds")["route_config_name"]]
        if "eds_cluster_config" in message:
            del message["eds_cluster_config"]
            message.update(type="STATIC", load_assignment=endpoints[message["name"]])
        _without("sds_config", "watched_directory")(message)

    found = {"listeners": read("lds.json"), "clusters": read("cds.json"), "secrets": read("sds/*.json")}
    _each_message(found, inline)
    _each_message(found, variant.change)
    boot: Json = json.loads((folder / "bootstrap.json").read_text())
    boot.pop("dynamic_resources")
    boot["static_resources"] = {kind: [_untyped(one) for one in resources] for kind, resources in found.items()}
    variant.bootstrap(boot)
    return boot


def _each_message(node: Any, change: Change) -> None:
    if isinstance(node, dict):
        change(node)
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _each_message(one, change)


def _untyped(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if name != "@type"}


async def measure(ways: list[Way], stack: BenchStack, load: CallersProcess, told: argparse.Namespace) -> None:
    """Prints the table of a kind of call."""
    rounds: list[tuple[float, dict[str, Measured]]] = []
    for number in range(told.of + 1):
        others, turns = Others(), {way.name: Measured() for way in ways}
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            order = replace(way.order, callers=told.callers, seconds=told.round_s, metadata=stack.context())
            await turn(way, order, load, turns[way.name])
        if number:
            rounds.append((others.share(), turns))
    kept = sorted(rounds, key=lambda one: one[0])[: told.rounds]
    print(f"Others used {statistics.median(share for share, _ in kept):.2f} cores.\n")
    print(f"| Envoy | CPU us a {told.unit} | of the first (quartiles) | p50 ms, of the first |\n|---|---|---|---|")
    first = ways[0].name
    for way in ways:
        cost = [_cost_us(turns[way.name]) for _, turns in kept]
        low, middle, high = statistics.quantiles([_cost_us(t[way.name]) / _cost_us(t[first]) for _, t in kept], n=4)
        wait = statistics.median(_wait_ms(turns[way.name]) / _wait_ms(turns[first]) for _, turns in kept)
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {way.name} | {statistics.median(cost):.0f} | {ratio} | {wait:.2f} |", flush=True)


def _cost_us(one: Measured) -> float:
    return 1e6 * one.cpu_s["envoy"] / one.calls


def _wait_ms(one: Measured) -> float:
    return statistics.median(one.waits_ms)


async def run(stack: BenchStack, folder: Path, told: argparse.Namespace) -> None:
    """Starts the Envoys, measures."""
    comparison: Comparison = next(one for one in between_services(stack) if one.unit == told.unit)
    (_, usual) = comparison.ways
    ways = []
    with ExitStack() as running:
        for number, (name, variant) in enumerate(VARIANTS.items(), start=1):
            # Of no stack: theirs begin with the high byte of their edge's port, which is above 4096.
            prefix = f"127.{number}.{int(stack.entry.rpartition(':')[2]) % 256}."
            own = folder / str(number)
            own.mkdir()
            (own / "bootstrap.json").write_text(json.dumps(static_bootstrap(stack, prefix, variant)))
            envoy = start_envoy(own / "bootstrap.json", own / "run", log=own / "log", concurrency=variant.concurrency)
            running.callback(envoy.stop)
            order = replace(usual.order, address=usual.order.address.replace(stack.address_prefix(), prefix))
            ways.append(Way(name, order, {**usual.processes, "envoy": envoy.pid}))
        async with callers() as load:
            await measure(ways, stack, load, told)


def main() -> None:
    """Starts a stack, measures in rounds, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="that are told of: the quietest")
    parser.add_argument("--of", type=int, default=15, help="rounds that are made")
    parser.add_argument("--round-s", type=float, default=0.5)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--unit", choices=("call", "message"), default="call", help="small calls, or a stream")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder) / "stack", Options()) as stack:
        asyncio.run(run(stack, Path(folder), told))


if __name__ == "__main__":
    main()
