"""What HTTP filters do with a call: in a chain, and as a route sets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.meshjudge.meaning.ignored import IGNORED_FILTERS, WRITTEN_DEFAULTS
from tools.meshjudge.meaning.message import UnreadError, compact, reading, type_of
from tools.meshjudge.meaning.values import duration, percent, text_match

ALWAYS = {"numerator": 100}
AUTHORIZATION = "authorization"


def per_route(configs: dict[str, Any]) -> dict[str, Any]:
    """Of a route's typed_per_filter_config: faults and CORS; authorization has its own reader, the rest stays."""
    found: dict[str, Any] = {}
    for name, config in configs.items():
        kind = type_of(config)
        if kind == "HTTPFault":
            found["faults"] = _fault(config)
        elif kind == "CorsPolicy":
            found["cors"] = _cors(config)
        elif kind != "RBACPerRoute":
            found.setdefault("filters", {})[name] = config
    return found


def chain(filters: Sequence[dict[str, Any]], authorized: bool) -> list[Any]:
    """The filters in their order: those that do nothing until a route asks by name, others with their configuration.
    `authorized`: whether the RBAC filters, which are read apart, have any rules; they stand together then."""
    found: list[Any] = []
    for each in filters:
        config = each.get("typed_config", {})
        kind = type_of(config)
        rest = plain_config({name: value for name, value in config.items() if name != "@type"})
        if kind in IGNORED_FILTERS or (kind == "RBAC" and (not authorized or found[-1:] == [AUTHORIZATION])):
            continue
        if kind == "RBAC":
            found.append(AUTHORIZATION)
        else:
            found.append({kind: rest} if rest else kind)
    if found.count(AUTHORIZATION) > 1:
        raise UnreadError("authorization in two places of a chain")
    return found


def plain_config(value: Any) -> Any:
    """A message that is compared as it is written, without defaults that are written out."""
    if isinstance(value, list):
        return [plain_config(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: plain_config(each) for name, each in value.items() if (name, each) not in WRITTEN_DEFAULTS}


def _fault(config: dict[str, Any]) -> dict[str, Any]:
    with reading("HTTPFault", config) as message:
        delay, abort = message.take("delay"), message.take("abort")
        return compact(delay=_delay(delay) if delay else None, abort=_abort(abort) if abort else None)


def _delay(fields: dict[str, Any]) -> str:
    with reading("FaultDelay", fields) as message:
        message.take("type")
        return f"{percent(message.take('percentage'))} by {duration(message.take('fixed_delay'))}"


def _abort(fields: dict[str, Any]) -> str:
    with reading("FaultAbort", fields) as message:
        share = percent(message.take("percentage"))
        if message.has("grpc_status"):
            return f"{share} with gRPC {message.take('grpc_status')}"
        return f"{share} with HTTP {message.take('http_status')}"


def _cors(config: dict[str, Any]) -> dict[str, Any]:
    with reading("CorsPolicy", config) as message:
        if (enabled := message.take("filter_enabled", {"default_value": ALWAYS})) and percent(
            enabled["default_value"]
        ) != "100%":
            raise UnreadError(f"CorsPolicy.filter_enabled: {enabled}")
        forwards = message.take("forward_not_matching_preflights", True)
        return compact(
            origins=sorted(text_match(each) for each in message.take("allow_origin_string_match", ())),
            methods=_words(message.take("allow_methods")),
            headers=_words(message.take("allow_headers")),
            exposed=_words(message.take("expose_headers")),
            max_age=message.take("max_age"),
            credentials=message.take("allow_credentials"),
            other_preflights=None if forwards else "answered here",
        )


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
