"""JSON Schemas of the contracts' messages, as the edge's transcoder writes them (ProtoJSON, zero values included)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tools.protos.bounds import bounds, is_required, list_bounds, refused_numbers, rules_of

Schema = dict[str, Any]

_WHOLE_NUMBER = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: _WHOLE_NUMBER,
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
}
_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"},
}


class Schemas:
    """The schemas that were asked for, and all that they refer to, in `components`, by the messages' own names.

    `comments`: what to say of each message, field, enum and value, by full name.
    """

    def __init__(self, comments: Mapping[str, str]) -> None:
        self.components: dict[str, Schema] = {}
        self._comments = comments
        self._named: dict[str, tuple[str, bool | None]] = {}

    def request(self, message: Descriptor, name: str = "", leave_out: Collection[str] = ()) -> Schema:
        """A message that is sent, without the fields `leave_out`. What has no zero value that is taken, is required."""
        fields = [field for field in message.fields if field.name not in leave_out]
        required = [field.json_name for field in fields if is_required(field)]
        return self._component(message, name or message.name, fields, required, sent=True)

    def response(self, message: Descriptor) -> Schema:
        """A message that is received: everything is there but messages and what can be unset."""
        required = [field.json_name for field in message.fields if field.is_repeated or not field.has_presence]
        return self._component(message, message.name, list(message.fields), required, sent=False)

    def field(self, field: FieldDescriptor, *, sent: bool) -> Schema:
        """A field's value, with its bounds and what its comment says."""
        schema = self._value(field, sent=sent)
        comment = self._comments.get(field.full_name, "")
        return {**schema, **({"description": comment} if comment else {})}

    def _component(
        self, message: Descriptor, name: str, fields: list[FieldDescriptor], required: list[str], *, sent: bool
    ) -> Schema:
        reference = {"$ref": f"#/components/schemas/{name}"}
        if self._claim(name, (message.full_name, sent)):
            schema: Schema = {"type": "object", "description": self._comments.get(message.full_name, "")}
            schema["properties"] = {field.json_name: self.field(field, sent=sent) for field in fields}
            if required:
                schema["required"] = required
            choices = [oneof for oneof in message.oneofs if len(oneof.fields) > 1]
            for oneof in choices:
                schema["oneOf"] = [{"required": [field.json_name]} for field in oneof.fields]
            self.components[name] = schema
        return reference

    def _value(self, field: FieldDescriptor, *, sent: bool) -> Schema:
        rules = rules_of(field)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._one(kind.fields_by_name["value"], sent=sent)}
        if not field.is_repeated:
            return {**self._one(field, sent=sent), **bounds(rules), **self._refused(field, refused_numbers(rules))}
        items = rules.repeated.items
        one = {**self._one(field, sent=sent), **bounds(items), **self._refused(field, refused_numbers(items))}
        return {"type": "array", "items": one, **list_bounds(rules)}

    def _one(self, field: FieldDescriptor, *, sent: bool) -> Schema:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        message = field.message_type
        if message is None:
            return dict(_SCALARS[field.type])
        if message.full_name in _KNOWN:
            return dict(_KNOWN[message.full_name])
        return self.request(message) if sent else self.response(message)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if self._claim(enum.name, (enum.full_name, None)):
            said = [
                f"- `{value.name}`: {self._comments.get(f'{enum.full_name}.{value.name}', '')}" for value in enum.values
            ]
            description = "\n".join([self._comments.get(enum.full_name, ""), "", *said])
            names = [value.name for value in enum.values]
            self.components[enum.name] = {"type": "string", "enum": names, "description": description}
        return {"$ref": f"#/components/schemas/{enum.name}"}

    def _refused(self, field: FieldDescriptor, numbers: Collection[int]) -> Schema:
        if field.enum_type is None or not numbers:
            return {}
        return {"not": {"enum": [field.enum_type.values_by_number[number].name for number in sorted(numbers)]}}

    def _claim(self, name: str, owner: tuple[str, bool | None]) -> bool:
        """Whether the component is still to be made. Raises ValueError where two things have one name, or one thing,
        which has one schema, is both sent and received."""
        taken = self._named.setdefault(name, owner)
        if taken != owner:
            raise ValueError(f"{owner[0]} and {taken[0]} are both to be {name}: name one of them otherwise")
        if name in self.components:
            return False
        self.components[name] = {}
        return True
