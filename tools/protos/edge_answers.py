"""What the edge's Envoy answers by itself, in the words and the shape in which the services' errors are transcoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.rpc import code_pb2

from libs.contracts import headers
from libs.errors.errors import Reason
from libs.rpc.status import DOMAIN, RETRY_AFTER_S

GRPC_BODIES = r"application/grpc(\+.*|-web(-text)?(\+proto)?)?"
"""The kinds of bodies that Envoy takes for gRPC and gRPC-Web, and so does not transcode; no others."""

_DETAIL = "type.googleapis.com/google.rpc"
_CALL = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"


@dataclass(frozen=True)
class _Said:
    """What an HTTP status of Envoy's own, `first` to `last`, means in Weft's words.

    `retry`: waiting helps. `status`: another one is answered; 0: the same.
    """

    first: int
    last: int
    code: str
    reason: Reason
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False
    status: int = 0


def mappers(max_request_bytes: int) -> list[dict[str, Any]]:
    """Envoy's `local_reply_config.mappers`: the first that fits holds, and each answer has the request's id.

    To those who call by gRPC or gRPC-Web Envoy says a gRPC status by itself, which is the right one but for a deadline.
    """
    limit, gateway = {"limit_bytes": str(max_request_bytes)}, {"dependency": "gateway"}
    said = [
        # A fault's gRPC status, which is put on before the call is known to be one by gRPC.
        _Said(200, 200, "UNAVAILABLE", Reason.DEPENDENCY_UNAVAILABLE, gateway, retry=True, status=503),
        _Said(403, 403, "PERMISSION_DENIED", Reason.METHOD_REFUSED, {"method": _CALL}),
        _Said(404, 404, "UNIMPLEMENTED", Reason.METHOD_UNKNOWN, {"method": _CALL}),
        _Said(408, 408, "DEADLINE_EXCEEDED", Reason.DEADLINE_EXCEEDED),
        _Said(413, 413, "RESOURCE_EXHAUSTED", Reason.MESSAGE_TOO_LARGE, limit),
        _Said(429, 429, "RESOURCE_EXHAUSTED", Reason.OVERLOADED, retry=True),
        _Said(400, 499, "INVALID_ARGUMENT", Reason.MESSAGE_MALFORMED),
        _Said(502, 503, "UNAVAILABLE", Reason.DEPENDENCY_UNAVAILABLE, gateway, retry=True),
        _Said(504, 504, "DEADLINE_EXCEEDED", Reason.DEADLINE_EXCEEDED),
        _Said(500, 599, "INTERNAL", Reason.INTERNAL),
    ]
    return [*(_mapper(each) for each in said), _DEADLINE_BY_GRPC]


def _mapper(said: _Said) -> dict[str, Any]:
    bounds = [_status("GE", said.first), _status("LE", said.last)]
    bounds = [_status("EQ", said.first)] if said.first == said.last else bounds
    return {
        "filter": {"and_filter": {"filters": [*bounds, _BY_REST]}},
        **({"status_code": said.status} if said.status else {}),
        "body_format_override": {"json_format": _status_message(said)},
        "headers_to_add": [_header(headers.REQUEST_ID, "%REQ(X-REQUEST-ID)%")],
    }


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _status(comparison: str, code: int) -> dict[str, Any]:
    return {
        "status_code_filter": {
            "comparison": {"op": comparison, "value": {"default_value": code, "runtime_key": "none"}}
        }
    }


_BY_REST = {
    "or_filter": {
        "filters": [
            {
                "header_filter": {
                    "header": {
                        "name": "content-type",
                        "string_match": {"safe_regex": {"regex": GRPC_BODIES}},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    }
                }
            },
            # The transcoder's mark: from there on a call by REST looks like gRPC too.
            {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}},
        ]
    }
}


_DEADLINE_BY_GRPC = {
    "filter": {"response_flag_filter": {"flags": ["UT"]}},
    "status_code": 200,
    "body_format_override": {"text_format_source": {"inline_string": ""}, "content_type": "application/grpc"},
    "headers_to_add": [
        _header("grpc-status", str(code_pb2.DEADLINE_EXCEEDED)),
        _header("grpc-message", "upstream request timeout"),
        _header(headers.REQUEST_ID, "%REQ(X-REQUEST-ID)%"),
    ],
}
"""Envoy would say UNAVAILABLE, as if another try could help. Its timer is the call's own where no rule gives less, and
may be faster than the caller's."""


def _status_message(said: _Said) -> dict[str, Any]:
    info = {"@type": f"{_DETAIL}.ErrorInfo", "reason": said.reason.value, "domain": DOMAIN, "metadata": said.metadata}
    details: list[dict[str, Any]] = [info]
    if said.retry:
        details.append({"@type": f"{_DETAIL}.RetryInfo", "retryDelay": f"{RETRY_AFTER_S:g}s"})
    return {"code": code_pb2.Code.Value(said.code), "message": "%LOCAL_REPLY_BODY%", "details": details}
