"""The edge's filters, written from the contracts as an Istio EnvoyFilter: gRPC-Web and REST become gRPC."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.protos.descriptors import descriptor_set
from tools.protos.edge_answers import GRPC_BODIES, mappers
from tools.protos.rest import RestMethod, rest_methods

FILE = Path(__file__).resolve().parents[2] / "mesh" / "transcoding.yaml"

MAX_REQUEST_BYTES = 8 << 20
"""Of a body in JSON, which takes up to twice the bytes of the message that it says."""

MAX_RESPONSE_BYTES = 64 << 20
"""Of an answer in JSON, or of one event of a stream; gRPC itself carries no larger message."""

_DESCRIPTORS = "(descriptors)"
_WIDTH = 120
_HTTP = "envoy.filters.http"
_MANAGER = "envoy.filters.network.http_connection_manager"
_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
_HEAD = """\
# Written from the contracts in proto/ by `python -m tools.protos`; a test fails when it is stale. What callers see
# of it is in docs/rest.md.
#
# For the edge alone: gRPC-Web, and REST as the contracts' google.api.http options say it, become gRPC before the
# router, and the answers become again what was asked for. What Envoy has to say itself, it says to callers by REST as
# the services do: as google.rpc.Status in JSON. Plain gRPC passes as it comes.
"""


def transcoding(_proto: Path) -> str:
    """The file: two kinds of patches, filters in front of the router, and how Envoy words its own answers."""
    rest = list(rest_methods())
    spec = {
        "workloadSelector": {"labels": {"istio": "edge"}},
        "configPatches": [
            *(_before_router(filter_) for filter_ in (_bounded(), _grpc_web(), _transcoder(rest))),
            # A caller's own x-request-id is on the answer to it, as the contracts say.
            _merged(
                {
                    "preserve_external_request_id": True,
                    "local_reply_config": {"mappers": mappers(MAX_REQUEST_BYTES)},
                }
            ),
        ],
    }
    resource = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "transcoding", "namespace": "weft"},
        "spec": spec,
    }
    text = yaml.dump(resource, Dumper=_Dumper, sort_keys=False, width=_WIDTH)
    return _HEAD + text.replace(_DESCRIPTORS, _in_lines(_described(rest)))


def _described(rest: list[RestMethod]) -> str:
    return base64.b64encode(descriptor_set(each.method for each in rest).SerializeToString(deterministic=True)).decode()


def _in_lines(text: str) -> str:
    """A double-quoted YAML scalar without blanks, over many lines."""
    return '"' + "\\\n".join(["", *textwrap.wrap(text, _WIDTH - 1)]) + '"'


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice: no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _before_router(filter_: Mapping[str, Any]) -> dict[str, Any]:
    router = {"filterChain": {"filter": {"name": _MANAGER, "subFilter": {"name": f"{_HTTP}.router"}}}}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": router},
        "patch": {"operation": "INSERT_BEFORE", "value": filter_},
    }


def _merged(settings: Mapping[str, Any]) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": _MANAGER}}}},
        "patch": {"operation": "MERGE", "value": {"name": _MANAGER, "typed_config": {"@type": kind, **settings}}},
    }


def _bounded() -> dict[str, Any]:
    """Bodies that are to be transcoded are read whole first: the transcoder keeps them, and without a bound."""
    is_grpc = {
        "single_predicate": {
            "input": {
                "name": "content-type",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                    "header_name": "content-type",
                },
            },
            "value_match": {"safe_regex": {"google_re2": {}, "regex": GRPC_BODIES}},
        }
    }
    skip = {
        "name": "skip",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"},
    }
    return {
        "name": f"{_HTTP}.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {
                "name": f"{_HTTP}.buffer",
                "typed_config": {"@type": f"{_TYPES}.buffer.v3.Buffer", "max_request_bytes": MAX_REQUEST_BYTES},
            },
            "xds_matcher": {"matcher_list": {"matchers": [{"predicate": is_grpc, "on_match": {"action": skip}}]}},
        },
    }


def _grpc_web() -> dict[str, Any]:
    return {"name": f"{_HTTP}.grpc_web", "typed_config": {"@type": f"{_TYPES}.grpc_web.v3.GrpcWeb"}}


def _transcoder(rest: list[RestMethod]) -> dict[str, Any]:
    return {
        "name": f"{_HTTP}.grpc_json_transcoder",
        "typed_config": {
            "@type": f"{_TYPES}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "services": sorted({each.method.containing_service.full_name for each in rest}),
            "convert_grpc_status": True,
            "print_options": {"always_print_primitive_fields": True, "stream_sse_style_delimited": True},
            "request_validation_options": {
                "reject_unknown_method": True,
                "reject_unknown_query_parameters": True,
                "reject_binding_body_field_collisions": True,
            },
            "max_request_body_size": MAX_REQUEST_BYTES,
            "max_response_body_size": MAX_RESPONSE_BYTES,
            "proto_descriptor_bin": _DESCRIPTORS,
        },
    }
