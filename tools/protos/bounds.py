"""What protovalidate bounds, in the words of JSON Schema, for values as ProtoJSON writes them."""

from __future__ import annotations

import re
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

_Rules = validate_pb2.FieldRules
_COMPARISONS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_NUMBERS = ("int32", "uint32", "float", "double")


def rules_of(field: FieldDescriptor) -> _Rules:
    """The rules of a field; empty where it has none."""
    rules: _Rules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def bounds(rules: _Rules) -> dict[str, Any]:
    """The keywords that hold one value to `rules`: of text, bytes, numbers and enums; {} for messages.

    Bounds of 64-bit integers and of durations, which JSON has as text, are told by the comments alone.
    """
    kind = rules.WhichOneof("type")
    if kind == "string":
        return _text(rules.string)
    if kind == "bytes":
        return _set(minLength=_base64_chars(rules.bytes.min_len), maxLength=_base64_chars(rules.bytes.max_len))
    if kind in _NUMBERS:
        number = getattr(rules, kind)
        return {word: getattr(number, name) for name, word in _COMPARISONS.items() if number.HasField(name)}
    return {}


def list_bounds(rules: _Rules) -> dict[str, Any]:
    """The keywords for how many values a list has."""
    repeated = rules.repeated
    return _set(minItems=repeated.min_items, maxItems=repeated.max_items, uniqueItems=repeated.unique)


def refused_numbers(rules: _Rules) -> frozenset[int]:
    """Values of an enum that are refused."""
    return frozenset(rules.enum.not_in)


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request that leaves `field` out is refused: its zero value breaks a rule."""
    rules = rules_of(field)
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or (field.has_presence and not rules.required):
        return False
    text = rules.string
    return bool(
        rules.required
        or rules.repeated.min_items
        or rules.bytes.min_len
        or text.min_len
        or text.uuid
        or (text.pattern and not re.search(text.pattern, ""))
        or 0 in rules.enum.not_in
    )


def _text(rules: validate_pb2.StringRules) -> dict[str, Any]:
    format_ = "uuid" if rules.uuid else ""
    return _set(minLength=rules.min_len, maxLength=rules.max_len, pattern=rules.pattern, format=format_)


def _base64_chars(size_bytes: int) -> int:
    return -(-size_bytes // 3) * 4


def _set(**keywords: Any) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value}
