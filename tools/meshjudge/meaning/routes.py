"""What a list of routes does with a call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd
from typing import Any

from tools.meshjudge.meaning.filters import per_route
from tools.meshjudge.meaning.message import Message, UnreadError, compact, reading, type_of
from tools.meshjudge.meaning.values import duration, header_changes, header_match, percent, query_match, regex

EVERY_CALL = "every call"
DEFAULT_TIMEOUT = "15s"
"""Envoy's, where a route sets none."""


def destination(cluster: str) -> str:
    """HOST:PORT of a cluster and after a slash its subset."""
    direction, _, rest = cluster.partition("|")
    if direction != "outbound":
        return cluster
    port, subset, host = rest.split("|")
    return f"{host}:{port}" + (f"/{subset}" if subset else "")


def route_meanings(host: dict[str, Any]) -> list[dict[str, Any]]:
    """A virtual host's routes in their order: neighbours that do the same are one, with all their matches; what stands
    behind a route for every call is left out."""
    with reading("VirtualHost", host) as message:
        above = header_changes(message)
        only_for: dict[str, Any] = {} if "*" in host["domains"] else {"for names": sorted(host["domains"])}
        only_tls = message.take("require_tls", "NONE")
        if only_tls != "NONE":
            only_for["plain calls"] = "redirected to TLS"
        configs = message.take("typed_per_filter_config", {})
        routes = message.take("routes", [])
    found: list[dict[str, Any]] = []
    for route in routes:
        match, does = _route(route, configs)
        does = {**does, **_together(above, does), **only_for}
        if found and {**found[-1], "match": None} == {**does, "match": None}:
            found[-1]["match"].append(match)
        else:
            found.append({"match": [match], **does})
        if match == EVERY_CALL:
            break
    return found


def _together(above: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted([*values, *own.get(name, [])]) for name, values in above.items()}


def _route(route: dict[str, Any], above: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    with reading("Route", route) as message:
        match = _match(message.take("match"))
        does = header_changes(message)
        does |= per_route({**above, **message.take("typed_per_filter_config", {})})
        if message.has("route"):
            does = _forward(message.take("route")) | does
        elif message.has("redirect"):
            does["redirect"] = _redirect(message.take("redirect"))
        elif message.has("direct_response"):
            with reading("DirectResponseAction", message.take("direct_response")) as answer:
                with reading("DataSource", answer.take("body")) as source:
                    body = source.take("inline_string", "")
                does["answer"] = f"{answer.take('status')} {body}".strip()
        else:
            raise UnreadError(f"a route without an action: {route}")
    return match, does


def _match(fields: dict[str, Any]) -> str:
    with reading("RouteMatch", fields) as message:
        case = "" if message.take("case_sensitive", True) else " (any case)"
        parts = []
        if message.has("path"):
            parts.append(f"path = {message.take('path')}{case}")
        if message.has("path_separated_prefix"):
            parts.append(f"path under {message.take('path_separated_prefix')}{case}")
        if message.has("safe_regex"):
            parts.append(f"path ~ {regex(message.take('safe_regex'))}")
        prefix = message.take("prefix", "")
        if prefix not in ("", "/"):
            parts.append(f"path starts {prefix}{case}")
        parts += sorted(header_match(each) for each in message.take("headers", ()))
        parts += sorted(query_match(each) for each in message.take("query_parameters", ()))
    return " and ".join(parts) or EVERY_CALL


def _forward(fields: dict[str, Any]) -> dict[str, Any]:
    with reading("RouteAction", fields) as message:
        timeout = duration(message.take("timeout"), DEFAULT_TIMEOUT)
        to: list[Any] = (
            [destination(message.take("cluster"))]
            if message.has("cluster")
            else _weighted(message.take("weighted_clusters"))
        )
        return compact(
            to=to,
            timeout=None if timeout == "0s" else timeout,
            caller_timeout=_caller_timeout(message),
            retries=_retries(message.take("retry_policy")),
            prefix_rewrite=message.take("prefix_rewrite"),
            regex_rewrite=_regex_rewrite(message.take("regex_rewrite")),
            host_rewrite=message.take("host_rewrite_literal"),
            auto_host_rewrite=message.take("auto_host_rewrite"),
            mirrors=[_mirror(each) for each in message.take("request_mirror_policies", ())],
            hash_on=message.take("hash_policy", []),
        )


def _caller_timeout(message: Message) -> str | None:
    """What the caller's own grpc-timeout may say: unset is that it does not count, "any" is no bound."""
    bound = duration(message.take("max_grpc_timeout"))
    if message.has("max_stream_duration"):
        with reading("MaxStreamDuration", message.take("max_stream_duration")) as longest:
            if duration(longest.take("max_stream_duration"), "0s") != "0s":
                raise UnreadError("RouteAction.max_stream_duration")
            bound = duration(longest.take("grpc_timeout_header_max"), bound)
    return "any" if bound == "0s" else f"at most {bound}" if bound else None


def _weighted(fields: dict[str, Any]) -> list[Any]:
    """In order; weights without their common factor."""
    found = []
    with reading("WeightedCluster", fields) as message:
        message.take("total_weight")
        for each in message.take("clusters"):
            with reading("ClusterWeight", each) as one:
                weight = one.take("weight", 0)
                found.append((weight, destination(one.take("name")), header_changes(one)))
    found = [each for each in found if each[0]]
    common = reduce(gcd, (weight for weight, _, _ in found), 0)
    shares = [(weight // common, name, changes) for weight, name, changes in found]
    if len(shares) == 1 and not shares[0][2]:
        return [shares[0][1]]
    return [{f"{weight} of {sum(s[0] for s in shares)}": name, **changes} for weight, name, changes in shares]


def _retries(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """Hosts: how another one is looked for."""
    if fields is None:
        return None
    with reading("RetryPolicy", fields) as message:
        attempts = message.take("num_retries", 1)
        found = compact(
            on=sorted(word.strip() for word in message.take("retry_on", "").split(",") if word.strip()),
            attempts=attempts,
            codes=sorted(message.take("retriable_status_codes", ())),
            per_try=duration(message.take("per_try_timeout")),
            hosts=sorted(_extension(each) for each in message.take("retry_host_predicate", ())),
            priority=_extension(message.take("retry_priority")) if message.has("retry_priority") else None,
            host_attempts=int(message.take("host_selection_retry_max_attempts", 1)),
            back_off=_back_off(message.take("retry_back_off")),
        )
    if found.get("host_attempts") == 1:
        del found["host_attempts"]
    return found if attempts and found.get("on") else None


def _back_off(fields: dict[str, Any] | None) -> str | None:
    if fields is None:
        return None
    with reading("RetryBackOff", fields) as message:
        return f"{duration(message.take('base_interval'))} to {duration(message.take('max_interval'), 'ten times')}"


def _extension(fields: dict[str, Any]) -> str:
    with reading("TypedExtension", fields) as message:
        config = message.take("typed_config")
    rest = {name: value for name, value in config.items() if name != "@type"}
    return f"{type_of(config)} {rest}" if rest else type_of(config)


def _regex_rewrite(fields: dict[str, Any] | None) -> str | None:
    if fields is None:
        return None
    with reading("RegexMatchAndSubstitute", fields) as message:
        return f"{regex(message.take('pattern'))} -> {message.take('substitution', '')}"


def _mirror(fields: dict[str, Any]) -> str:
    with reading("RequestMirrorPolicy", fields) as message:
        share = (message.take("runtime_fraction") or {}).get("default_value", {"numerator": 100})
        # Whether the copies are traced, and whether their host header gets "-shadow" appended.
        message.take("trace_sampled")
        message.take("disable_shadow_host_suffix_append")
        return f"{percent(share)} to {destination(message.take('cluster'))}"


def _redirect(fields: dict[str, Any]) -> dict[str, Any]:
    with reading("RedirectAction", fields) as message:
        return compact(
            host=message.take("host_redirect"),
            path=message.take("path_redirect"),
            prefix=message.take("prefix_rewrite"),
            scheme=message.take("scheme_redirect"),
            https=message.take("https_redirect"),
            port=message.take("port_redirect"),
            code=message.take("response_code", "MOVED_PERMANENTLY"),
        )


def referred(routes: Sequence[dict[str, Any]]) -> set[str]:
    """The destinations that the routes' meanings name."""
    found: set[str] = set()
    for route in routes:
        for to in route.get("to", ()):
            found.add(to if isinstance(to, str) else next(iter(to.values())))
        found |= {mirror.partition(" to ")[2] for mirror in route.get("mirrors", ())}
    return found
