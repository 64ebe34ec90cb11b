"""Values of Envoy's API, each written one way."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tools.meshjudge.meaning.message import UnreadError, reading

PARTS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def plain(number: Decimal) -> str:
    """Without zeros at the end, and without an exponent."""
    return format(number.normalize(), "f")


def duration(text: str | None, default: str | None = None) -> str | None:
    """ "1.500s" as "1.5s"; None or the default where it is not set."""
    if text is None:
        return default
    return plain(Decimal(str(text).removesuffix("s"))) + "s"


def percent(fraction: Mapping[str, Any] | None) -> str:
    """A FractionalPercent as "0.1%"; one that is empty is 0%."""
    with reading("FractionalPercent", dict(fraction or {})) as message:
        numerator = Decimal(message.take("numerator", 0))
        parts = PARTS[message.take("denominator", "HUNDRED")]
    return plain(numerator * 100 / parts) + "%"


def value_of(wrapped: Mapping[str, Any] | None, default: float) -> str:
    """A Percent or a RuntimeDouble's value as text."""
    return plain(Decimal(str((wrapped or {}).get("value", default))))


def text_match(matcher: Mapping[str, Any]) -> str:
    """A StringMatcher: "= x", "starts x", "ends x", "contains x" or "~ x" (a regular expression of the whole)."""
    with reading("StringMatcher", dict(matcher)) as message:
        case = " (any case)" if message.take("ignore_case", False) else ""
        for name, sign in (("exact", "="), ("prefix", "starts"), ("suffix", "ends"), ("contains", "contains")):
            if message.has(name):
                return f"{sign} {message.take(name)}{case}"
        if message.has("safe_regex"):
            return f"~ {regex(message.take('safe_regex'))}"
    # A oneof whose only member is an empty string.
    return f"= {case}"


def regex(matcher: Mapping[str, Any]) -> str:
    """A RegexMatcher's pattern."""
    with reading("RegexMatcher", dict(matcher)) as message:
        message.take("google_re2")
        return str(message.take("regex", ""))


def header_match(matcher: Mapping[str, Any]) -> str:
    """A HeaderMatcher: "header priority = high"; what is turned round begins with "not"."""
    with reading("HeaderMatcher", dict(matcher)) as message:
        name = message.take("name")
        not_ = "not " if message.take("invert_match", False) else ""
        missing = " (missing is empty)" if message.take("treat_missing_header_as_empty", False) else ""
        if message.has("string_match"):
            return f"{not_}header {name} {text_match(message.take('string_match'))}{missing}"
        present = message.take("present_match", True)
    return f"{not_ if present else 'not ' if not not_ else ''}header {name} present{missing}"


def query_match(matcher: Mapping[str, Any]) -> str:
    """A QueryParameterMatcher."""
    with reading("QueryParameterMatcher", dict(matcher)) as message:
        name = message.take("name")
        if message.has("string_match"):
            return f"query {name} {text_match(message.take('string_match'))}"
        if not message.take("present_match", True):
            raise UnreadError(f"a query parameter that must be missing: {name}")
    return f"query {name} present"


def header_options(listed: list[dict[str, Any]] | None) -> list[str]:
    """HeaderValueOptions, sorted: "name: value" is added, "name := value" is set."""
    found = []
    for each in listed or ():
        with reading("HeaderValueOption", each) as message:
            action = message.take("append_action", "APPEND_IF_EXISTS_OR_ADD")
            append = message.take("append", True)
            with reading("HeaderValue", message.take("header")) as header:
                name, value = header.take("key"), header.take("value", "")
        sets = action == "OVERWRITE_IF_EXISTS_OR_ADD" or not append
        if not sets and action != "APPEND_IF_EXISTS_OR_ADD":
            raise UnreadError(f"HeaderValueOption.append_action: {action}")
        found.append(f"{name.lower()} := {value}" if sets else f"{name.lower()}: {value}")
    return sorted(found)


def header_changes(message: Any) -> dict[str, Any]:
    """The four fields that a route, its virtual host and a destination have alike."""
    found: dict[str, Any] = {}
    for side in ("request", "response"):
        if added := header_options(message.take(f"{side}_headers_to_add")):
            found[f"{side}_headers"] = added
        if removed := message.take(f"{side}_headers_to_remove"):
            found[f"{side}_headers_removed"] = sorted(name.lower() for name in removed)
    return found
