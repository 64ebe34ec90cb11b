"""Filters: what a payload, or an id, must look like."""

from collections.abc import Iterable
from typing import Any

import qdrant_edge as edge
from qdrant_client.grpc import qdrant_common_pb2

from tools.qdrantlocal.convert.fields import given, only, point_ids
from tools.qdrantlocal.errors import invalid, unsupported

RANGE = ("gte", "gt", "lte", "lt")


def optional_filter(message: Any) -> edge.Filter | None:
    """The filter of a request that may have one."""
    return filter_of(message.filter) if message.HasField("filter") else None


def filter_of(message: qdrant_common_pb2.Filter) -> edge.Filter:
    at_least = None
    if message.HasField("min_should"):
        conditions = [_condition(condition) for condition in message.min_should.conditions]
        at_least = edge.MinShould(conditions, message.min_should.min_count)
    return edge.Filter(
        must=_conditions(message.must),
        should=_conditions(message.should),
        must_not=_conditions(message.must_not),
        min_should=at_least,
    )


def _conditions(messages: Iterable[qdrant_common_pb2.Condition]) -> list[Any] | None:
    return [_condition(message) for message in messages] or None


def _condition(message: qdrant_common_pb2.Condition) -> Any:
    match message.WhichOneof("condition_one_of"):
        case "field":
            return _field_condition(message.field)
        case "filter":
            return filter_of(message.filter)
        case "has_id":
            return edge.HasIdCondition(set(point_ids(message.has_id.has_id)))
        case "is_empty":
            return edge.IsEmptyCondition(message.is_empty.key)
        case "is_null":
            return edge.IsNullCondition(message.is_null.key)
        case None:
            raise invalid("a filter has an empty condition")
        case kind:
            raise unsupported(f"Condition.{kind}")


def _field_condition(message: qdrant_common_pb2.FieldCondition) -> edge.FieldCondition:
    only(message, "key", "match", "range", "datetime_range", "is_empty", "is_null")
    arguments = given(message, "is_empty", "is_null")
    if message.HasField("match"):
        arguments["match"] = _match(message.match)
    if message.HasField("range"):
        arguments["range"] = edge.RangeFloat(**given(message.range, *RANGE))
    if message.HasField("datetime_range"):
        times = {name: time.ToJsonString() for name, time in given(message.datetime_range, *RANGE).items()}
        arguments["range"] = edge.RangeDateTime(**times)
    return edge.FieldCondition(message.key, **arguments)


def _match(message: qdrant_common_pb2.Match) -> Any:
    match message.WhichOneof("match_value"):
        case "keyword":
            return edge.MatchValue(message.keyword)
        case "integer":
            return edge.MatchValue(message.integer)
        case "boolean":
            return edge.MatchValue(_NumpyBool(message.boolean))  # type: ignore[arg-type]
        case "keywords":
            return edge.MatchAny(list(message.keywords.strings))
        case "integers":
            return edge.MatchAny(list(message.integers.integers))
        case "except_keywords":
            return edge.MatchExcept(list(message.except_keywords.strings))
        case "except_integers":
            return edge.MatchExcept(list(message.except_integers.integers))
        case None:
            raise invalid("a match has no value")
        case kind:
            raise unsupported(f"Match.{kind}")


class _NumpyBool:
    """Passes for numpy's boolean: the engine takes Python's own for an integer, which matches no boolean."""

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value


_NumpyBool.__module__, _NumpyBool.__name__, _NumpyBool.__qualname__ = "numpy", "bool", "bool"
