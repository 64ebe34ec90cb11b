# mypy: disable-error-code="import-untyped, import-not-found"
"""Asks an istiod for all that it gives to a proxy: a process in an environment of its own (3rdparty/istiod.lock).

A line in is {"address": host:port, "nodes": [Node of Envoy's API]}; the line out has, for each node in order, what it
was given: {"clusters": [...], "endpoints": [...], "listeners": [...], "routes": [...]}, in Envoy's JSON with its own
field names. A failure is {"error": text}. The first line out, before any in, is {}: it is ready.
"""

import contextlib
import importlib
import json
import pkgutil
import queue
import sys
from collections.abc import Iterator
from typing import Any

import envoy
import grpc
import udpa
import xds
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import descriptor_pool, json_format, message_factory

PREFIX = "type.googleapis.com/"
TYPES = {
    "clusters": PREFIX + "envoy.config.cluster.v3.Cluster",
    "endpoints": PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "listeners": PREFIX + "envoy.config.listener.v3.Listener",
    "routes": PREFIX + "envoy.config.route.v3.RouteConfiguration",
}
TIMEOUT_S = 20.0
MAX_MESSAGE_BYTES = 64 << 20


def load_messages() -> None:
    """Registers every message of Envoy's API: only then can the Any of a filter be printed."""
    for package in (envoy, udpa, xds):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.endswith("_pb2") and ".service." not in module.name:
                # Some import what the package lacks; a message that is missed is an error when it is met.
                with contextlib.suppress(ImportError, TypeError):
                    importlib.import_module(module.name)


def shown(resource: Any) -> Any:
    kind = descriptor_pool.Default().FindMessageTypeByName(resource.type_url.removeprefix(PREFIX))
    message = message_factory.GetMessageClass(kind)()
    message.ParseFromString(resource.value)
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def ask(address: str, described: dict[str, Any]) -> dict[str, list[Any]]:
    """One stream, as a proxy opens it: clusters, their endpoints, listeners, their routes."""
    node = json_format.ParseDict(described, discovery_pb2.DiscoveryRequest().node)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given: dict[str, list[Any]] = {}

    def request(kind: str, **more: Any) -> None:
        requests.put(discovery_pb2.DiscoveryRequest(node=node, type_url=TYPES[kind], **more))

    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        answers = stub.StreamAggregatedResources(iter(requests.get, None), timeout=TIMEOUT_S)
        for kind in TYPES:
            names = sorted(set(wanted(kind, given)))
            if kind in ("endpoints", "routes") and not names:
                given[kind] = []
                continue
            request(kind, resource_names=names)
            for answer in answers:
                seen = {"version_info": answer.version_info, "response_nonce": answer.nonce}
                if answer.type_url != TYPES[kind]:
                    continue
                request(kind, resource_names=names, **seen)
                given[kind] = [shown(resource) for resource in answer.resources]
                break
        requests.put(None)
        answers.cancel()
    return given


def wanted(kind: str, given: dict[str, list[Any]]) -> Iterator[str]:
    """Names that what came before refers to."""
    if kind == "endpoints":
        for cluster in given["clusters"]:
            if cluster.get("type") == "EDS":
                yield cluster.get("eds_cluster_config", {}).get("service_name") or cluster["name"]
    if kind == "routes":
        yield from route_names(given["listeners"])


def route_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "route_config_name" in value.get("rds", {}):
            yield value["rds"]["route_config_name"]
        for each in value.values():
            yield from route_names(each)
    elif isinstance(value, list):
        for each in value:
            yield from route_names(each)


def main() -> None:
    load_messages()
    print("{}", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        said: Any
        try:
            said = [ask(question["address"], node) for node in question["nodes"]]
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        # Maps of protobuf have no order.
        print(json.dumps(said, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
