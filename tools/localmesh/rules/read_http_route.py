"""Reads the routes of VirtualServices."""

from __future__ import annotations

from http import HTTPStatus

from tools.localmesh.nodes import Node
from tools.localmesh.rules.durations import read_duration_s
from tools.localmesh.rules.faults import read_fault
from tools.localmesh.rules.hosts import full_name
from tools.localmesh.rules.http_routes import (
    CorsPolicy,
    Delegate,
    Destination,
    DirectResponse,
    HeaderChanges,
    Headers,
    HttpRoute,
    Retries,
    Rewrite,
    Timeout,
)
from tools.localmesh.rules.matches import read_header_name, read_match, read_text_match

RETRY_ON = frozenset(
    {"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream"}
    | {"retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure"}
    | {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
_MOST_BODY_BYTES = 1024 * 1024
_ACTIONS = ("route", "directResponse", "delegate")


def read_http_route(node: Node, namespace: str) -> HttpRoute:
    """`namespace` is the VirtualService's. Raises MeshError."""
    fields = node.fields(
        *("name", "match", "route", "directResponse", "delegate"),
        *("timeout", "retries", "fault", "headers", "corsPolicy", "rewrite"),
    )
    actions = [name for name in _ACTIONS if name in fields]
    if len(actions) != 1:
        raise node.problem(f"needs one of {', '.join(_ACTIONS)}, and has {' and '.join(actions) or 'none'}")
    for name in ("fault", "rewrite"):
        if name in fields and "directResponse" in fields:
            raise fields[name].problem("has no meaning beside directResponse; remove one")
    return HttpRoute(
        node.place,
        node.path,
        fields["name"].text() if "name" in fields else "",
        tuple(read_match(item, namespace) for item in fields["match"].items()) if "match" in fields else (),
        _destinations(fields["route"], namespace) if "route" in fields else (),
        Timeout(read_duration_s(fields["timeout"]), fields["timeout"].place) if "timeout" in fields else None,
        _retries(fields["retries"]) if "retries" in fields else None,
        read_fault(fields["fault"]) if "fault" in fields else None,
        _headers(fields["headers"]) if "headers" in fields else None,
        _cors_policy(fields["corsPolicy"]) if "corsPolicy" in fields else None,
        _direct_response(fields["directResponse"]) if "directResponse" in fields else None,
        _rewrite(fields["rewrite"]) if "rewrite" in fields else None,
        _delegate(fields["delegate"], namespace) if "delegate" in fields else None,
    )


def _destinations(node: Node, namespace: str) -> tuple[Destination, ...]:
    items = node.items()
    if not items:
        raise node.problem("must not be empty")
    return tuple(_destination(item, namespace) for item in items)


def _destination(node: Node, namespace: str) -> Destination:
    fields = node.fields("weight", "headers", required=("destination",))
    to = fields["destination"].fields("subset", "port", required=("host",))
    return Destination(
        full_name(to["host"], namespace),
        fields["destination"].place,
        fields["destination"].path,
        to["subset"].text() if "subset" in to else "",
        to["port"].fields(required=("number",))["number"].integer(1, 65535) if "port" in to else None,
        fields["weight"].integer(0, 2**31 - 1) if "weight" in fields else 0,
        _headers(fields["headers"]) if "headers" in fields else Headers(),
    )


def _retries(node: Node) -> Retries:
    fields = node.fields(
        *("perTryTimeout", "retryOn", "retryIgnorePreviousHosts", "retryRemoteLocalities", "backoff"),
        required=("attempts",),
    )
    attempts = fields["attempts"].integer(0, 2**31 - 1)
    if not attempts and len(fields) > 1:
        raise node.problem("attempts: 0 means no retries; remove the other fields")
    ignore = fields.get("retryIgnorePreviousHosts")
    remote = fields.get("retryRemoteLocalities")
    return Retries(
        attempts,
        node.place,
        node.path,
        read_duration_s(fields["perTryTimeout"]) if "perTryTimeout" in fields else None,
        _retry_on(fields["retryOn"]) if "retryOn" in fields else (),
        ignore.flag() if ignore else True,
        remote.flag() if remote else False,
        read_duration_s(fields["backoff"]) if "backoff" in fields else None,
    )


def _retry_on(node: Node) -> tuple[str, ...]:
    words = tuple(node.text().split(","))
    codes = {str(status.value) for status in HTTPStatus}
    for word in words:
        if word not in RETRY_ON and word not in codes:
            known = ", ".join(sorted(RETRY_ON))
            raise node.problem(f"{word!r} is no reason to retry; those are: {known}, and codes of HTTP")
    return words


def _headers(node: Node) -> Headers:
    fields = node.fields("request", "response")
    return Headers(*(_changes(fields[name]) if name in fields else HeaderChanges() for name in ("request", "response")))


def _changes(node: Node) -> HeaderChanges:
    fields = node.fields("set", "add", "remove")
    remove = [read_header_name(item.text(), item) for item in fields["remove"].items()] if "remove" in fields else []
    return HeaderChanges(_values(fields.get("set")), _values(fields.get("add")), tuple(remove))


def _values(node: Node | None) -> dict[str, str]:
    found = {}
    for name, item in node.entries().items() if node else ():
        value = item.text()
        if "%" in value:
            raise item.problem("% begins what Envoy fills in, which is not supported here; write plain text")
        found[read_header_name(name, item)] = value
    return found


def _cors_policy(node: Node) -> CorsPolicy:
    fields = node.fields(
        *("allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials"),
        "unmatchedPreflights",
    )
    unmatched = fields.get("unmatchedPreflights")
    return CorsPolicy(
        tuple(read_text_match(item) for item in fields["allowOrigins"].items()) if "allowOrigins" in fields else (),
        tuple(item.choice(*_METHODS) for item in fields["allowMethods"].items()) if "allowMethods" in fields else (),
        tuple(fields["allowHeaders"].texts()) if "allowHeaders" in fields else (),
        tuple(fields["exposeHeaders"].texts()) if "exposeHeaders" in fields else (),
        _whole_seconds(fields["maxAge"]) if "maxAge" in fields else None,
        fields["allowCredentials"].flag() if "allowCredentials" in fields else None,
        unmatched.choice("UNSPECIFIED", "FORWARD", "IGNORE") != "IGNORE" if unmatched else True,
    )


def _whole_seconds(node: Node) -> int:
    seconds = read_duration_s(node)
    if seconds != int(seconds):
        raise node.problem(f"{node.text()} is finer than a second; Istio takes whole ones")
    return int(seconds)


def _direct_response(node: Node) -> DirectResponse:
    fields = node.fields("body", required=("status",))
    body = fields["body"].fields(required=("string",))["string"] if "body" in fields else None
    if body and len(body.text().encode()) > _MOST_BODY_BYTES:
        raise body.problem("is longer than 1 MiB, the most that Istio takes")
    return DirectResponse(fields["status"].integer(200, 599), body.text() if body else None)


def _rewrite(node: Node) -> Rewrite:
    fields = node.fields("uri", "authority")
    if not fields:
        raise node.problem("needs uri, authority or both")
    return Rewrite(*(fields[name].text() if name in fields else "" for name in ("uri", "authority")))


def _delegate(node: Node, namespace: str) -> Delegate:
    fields = node.fields("namespace", required=("name",))
    where = fields["namespace"].text() if "namespace" in fields else namespace
    return Delegate(fields["name"].text(), where, node.place, node.path)
