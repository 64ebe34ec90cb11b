"""What Envoy tells: a line of JSON for each call that failed, and for each caller that it did not let in."""

from __future__ import annotations

from tools.localmesh.mesh import Json, typed

_LOG = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"

_CALLER = {
    "time": "%START_TIME%",
    "level": "warning",
    "service": "envoy",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "flags": "%RESPONSE_FLAGS%",
    "tls_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
}
_CALL = {
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace": "%REQ(TRACEPARENT)%",
}

_GRPC: Json = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}}
_FAILED: Json = {
    "or_filter": {
        "filters": [
            {"response_flag_filter": {}},
            {
                "status_code_filter": {
                    "comparison": {
                        "op": "GE",
                        "value": {"default_value": 400, "runtime_key": "access_log.least_status"},
                    }
                }
            },
            # Of answers that are not gRPC's the filter would make up a status.
            {"and_filter": {"filters": [_GRPC, {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}]}},
        ]
    }
}


def failed_calls(listener: str) -> list[Json]:
    """The access log of an HTTP connection manager."""
    return [_log({**_CALLER, "event": "call_failed", "listener": listener, **_CALL}, _FAILED)]


def refused_callers(listener: str) -> list[Json]:
    """The access log of a listener: connections whose TLS handshake failed."""
    return [_log({**_CALLER, "event": "caller_refused", "listener": listener}, _NOT_LET_IN)]


def _log(fields: Json, what: Json) -> Json:
    log_format = {"json_format": fields, "omit_empty_values": True}
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": what,
        "typed_config": typed(_LOG, log_format=log_format),
    }


_NOT_LET_IN: Json = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": typed(
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression="has(connection.transport_failure_reason)",
        ),
    }
}
