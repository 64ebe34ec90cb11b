"""What EnvoyFilter is read into, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.rules.envoy_filters import (
    MANAGER_TYPE,
    EnvoyFilter,
    InsertedFilter,
    MergedManager,
    read_envoy_filter,
)
from tools.localmesh.rules.tests.written import documents, refusal, written


def read(folder: Path, *texts: str) -> list[EnvoyFilter]:
    return [read_envoy_filter(document) for document in documents(folder, *texts)]


FILTER = f"""
workloadSelector: {{labels: {{istio: edge}}}}
configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener:
        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {{name: envoy.filters.http.router}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.grpc_web
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}
  - applyTo: NETWORK_FILTER
    match:
      context: GATEWAY
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}
    patch:
      operation: MERGE
      value:
        name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {MANAGER_TYPE}
          preserve_external_request_id: true
"""


def test_an_envoy_filter_is_read_whole(tmp_path: Path) -> None:
    """A filter as it is written, and fields of the manager."""
    (found,) = read(tmp_path, written("EnvoyFilter", FILTER))
    inserted, merged = found.patches
    name = "envoy.filters.http.grpc_web"
    config = {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}
    assert inserted == InsertedFilter({"name": name, "typed_config": config}, inserted.place)
    assert merged == MergedManager({"preserve_external_request_id": True}, merged.place)
    assert found.selects("weft", {"istio": "edge", "app": "edge"})
    assert not found.selects("weft", {"app": "edge"})
    assert not found.selects("other", {"istio": "edge"})


FILTERS: dict[tuple[str, str], str] = {
    ("applyTo: HTTP_FILTER", "applyTo: CLUSTER"): "7: spec.configPatches[0].applyTo: 'CLUSTER' is not supported",
    ("INSERT_BEFORE", "INSERT_FIRST"): "operation: 'INSERT_FIRST' is not supported; what is: INSERT_BEFORE",
    ("operation: MERGE", "operation: REPLACE"): "operation: 'REPLACE' is not supported; what is: MERGE",
    ("context: GATEWAY", "context: ANY"): "9: spec.configPatches[0].match.context: 'ANY' is not supported",
    ("context: GATEWAY", "context: SIDECAR_INBOUND"): "context: 'SIDECAR_INBOUND' is not supported",
    ("listener:\n", "proxy: {}\n      listener:\n"): "match.proxy: is not supported here",
    ("envoy.filters.http.router", "envoy.filters.http.cors"): "subFilter.name: 'envoy.filters.http.cors' is not",
    ("preserve_external_request_id: true", "use_remote_address: true"): "use_remote_address: is not supported here",
    ("preserve_external_request_id: true", "http_filters: []"): "http_filters: is not supported here",
    ("preserve_external_request_id: true", "merge_slashes: false"): "is the default, which a merge leaves out",
    ("preserve_external_request_id: true", 'request_timeout: ""'): "is the default, which a merge leaves out",
    (MANAGER_TYPE, "type.googleapis.com/other"): "@type: 'type.googleapis.com/other' is not supported",
    ('typed_config: {"@type"', 'typed_config: {"type"'): "typed_config: @type is missing",
    ("{labels: {istio: edge}}", "{labels: {}}"): "5: spec.workloadSelector.labels: selects every workload",
    ("configPatches:", "priority: 1\nconfigPatches:"): "6: spec.priority: is not supported here",
}  # fmt: skip


@pytest.mark.parametrize("change", FILTERS, ids=lambda change: change[1].strip())
def test_what_an_envoy_filter_may_not_say_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, written("EnvoyFilter", FILTER.replace(*change)))
    assert FILTERS[change] in found
