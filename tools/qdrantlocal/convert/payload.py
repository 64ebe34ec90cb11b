"""Payloads: Qdrant's JSON-like values and Python's."""

import math
from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge
from qdrant_client.grpc import json_with_int_pb2, points_pb2

from tools.qdrantlocal.convert.fields import only
from tools.qdrantlocal.errors import invalid


def payload(values: Mapping[str, json_with_int_pb2.Value]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def put_payload(target: Any, values: Mapping[str, Any]) -> None:
    """Into a message's map of values."""
    for name, value in values.items():
        _put_value(target[name], value)


def payload_selector(message: points_pb2.WithPayloadSelector) -> bool | edge.PayloadSelector:
    kind = message.WhichOneof("selector_options")
    if kind == "include":
        return edge.PayloadSelector.Include(list(message.include.fields))
    if kind == "exclude":
        return edge.PayloadSelector.Exclude(list(message.exclude.fields))
    only(message, "enable")
    return message.enable


def _value(value: json_with_int_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return payload(value.struct_value.fields)
    if kind == "double_value" and not math.isfinite(value.double_value):
        raise invalid("a payload number is not finite")
    return getattr(value, kind)


def _put_value(target: json_with_int_pb2.Value, value: Any) -> None:
    match value:
        case str():
            target.string_value = value
        case bool():  # before int: True is one
            target.bool_value = value
        case int():
            target.integer_value = value
        case float():
            target.double_value = value
        case list():
            target.list_value.SetInParent()
            for item in value:
                _put_value(target.list_value.values.add(), item)
        case dict():
            target.struct_value.SetInParent()
            put_payload(target.struct_value.fields, value)
        case _:
            target.null_value = json_with_int_pb2.NULL_VALUE
