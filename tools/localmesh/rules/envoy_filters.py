"""EnvoyFilter: the two patches of the edge's listener that are understood.

One inserts an HTTP filter before the router, the other merges fields into the HTTP connection manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.workloads import includes

MANAGER = "envoy.filters.network.http_connection_manager"
MANAGER_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.filters.http.router"

MERGEABLE = (
    "add_user_agent",
    "always_set_request_id_in_response",
    "common_http_protocol_options",
    "http2_protocol_options",
    "local_reply_config",
    "max_request_headers_kb",
    "merge_slashes",
    "preserve_external_request_id",
    "request_headers_timeout",
    "request_timeout",
    "stream_idle_timeout",
)
"""Fields of the manager that open nothing that other rules close."""


@dataclass(frozen=True)
class InsertedFilter:
    """An HTTP filter before the router, as Envoy's JSON has it."""

    value: Mapping[str, Any]
    place: Place = field(compare=False)


@dataclass(frozen=True)
class MergedManager:
    """Fields of the HTTP connection manager, to be merged into it as protobuf does."""

    value: Mapping[str, Any]
    place: Place = field(compare=False)


Patch = InsertedFilter | MergedManager


@dataclass(frozen=True)
class EnvoyFilter:
    """For the workloads of its namespace with the selector's labels; patches in written order."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    patches: tuple[Patch, ...]
    place: Place = field(compare=False)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return self.namespace == namespace and includes(labels, self.selector)


def read_envoy_filter(document: Document) -> EnvoyFilter:
    """Raises MeshError."""
    spec = document.spec()
    if spec is None:
        raise document.root.problem("spec is missing; add it")
    fields = spec.fields(required=("workloadSelector", "configPatches"))
    labels = fields["workloadSelector"].fields(required=("labels",))["labels"]
    selector = labels.texts_by_name()
    if not selector:
        raise labels.problem("selects every workload; name the edge's labels")
    patches = tuple(_patch(item) for item in fields["configPatches"].items())
    if not patches:
        raise fields["configPatches"].problem("must not be empty")
    return EnvoyFilter(document.name, document.namespace, selector, patches, document.place)


def _patch(node: Node) -> Patch:
    fields = node.fields(required=("applyTo", "match", "patch"))
    inserts = fields["applyTo"].choice("HTTP_FILTER", "NETWORK_FILTER") == "HTTP_FILTER"
    _check_match(fields["match"], inserts)
    patch = fields["patch"].fields(required=("operation", "value"))
    patch["operation"].choice("INSERT_BEFORE" if inserts else "MERGE")
    return _inserted(patch["value"]) if inserts else _merged(patch["value"])


def _check_match(node: Node, inserts: bool) -> None:
    """The only match that is understood: the manager of each of a gateway's listeners, and in it the router."""
    match = node.fields(required=("context", "listener"))
    match["context"].choice("GATEWAY")
    chain = match["listener"].fields(required=("filterChain",))["filterChain"]
    required = ("name", "subFilter") if inserts else ("name",)
    manager = chain.fields(required=("filter",))["filter"].fields(required=required)
    manager["name"].choice(MANAGER)
    if inserts:
        manager["subFilter"].fields(required=("name",))["name"].choice(ROUTER)


def _inserted(node: Node) -> InsertedFilter:
    fields = node.fields(required=("name", "typed_config"))
    fields["name"].text()
    _type_of(fields["typed_config"]).text()
    return InsertedFilter(node.plain(), node.place)


def _merged(node: Node) -> MergedManager:
    config = node.fields("name", required=("typed_config",))["typed_config"]
    _type_of(config).choice(MANAGER_TYPE)
    for name, value in config.fields("@type", *MERGEABLE).items():
        if name != "@type":
            _check_leaves(value)
    plain = config.plain()
    del plain["@type"]
    return MergedManager(plain, node.place)


def _type_of(config: Node) -> Node:
    if "@type" not in config.entries():
        raise config.problem("@type is missing; add it")
    return config.entries()["@type"]


def _check_leaves(node: Node) -> None:
    """What protobuf takes for not written replaces nothing in a merge."""
    if node.is_map:
        for value in node.entries().values():
            _check_leaves(value)
    elif not node.is_list and not node.plain():
        raise node.problem("is the default, which a merge leaves out: it would change nothing; remove it")
