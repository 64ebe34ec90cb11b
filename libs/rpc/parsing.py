"""Bytes to valid messages: a body that is no message, or breaks its contract's rules, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from libs.errors.errors import FieldViolation, InvalidArgumentError, Reason

if TYPE_CHECKING:
    import protovalidate

_MAX_VIOLATIONS = 20
_PATTERNS_IN_WORDS = {
    r"\S": "must have more than white space",
    r"^[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*$": (
        "must be letters and digits, with single dots, and hyphens and underscores, between"
    ),
}
"""What the contracts' patterns ask for; another pattern is told as it is."""


def parser(request: type[Message]) -> Callable[[bytes], Message]:
    """Bytes to a valid `request`. Compiles its rules now, so that a broken contract stops the start, not a call.

    A request without rules needs no validator: a process that has no others does not load it (15 MB).
    """
    full_name = request.DESCRIPTOR.full_name
    validate = _validator(request) if has_rules(request.DESCRIPTOR) else None  # type: ignore[arg-type]

    def parse(body: bytes) -> Message:
        try:
            message = request.FromString(body)
        except DecodeError:
            raise InvalidArgumentError(
                Reason.MESSAGE_MALFORMED, f"the body is not a {full_name}", metadata={"message": full_name}
            ) from None
        if validate is not None:
            validate(message)
        return message

    return parse


def has_rules(message: Descriptor) -> bool:
    """Whether a rule of buf.validate stands in `message` or in any message within it."""
    pending, seen = [message], {message.full_name}
    while pending:
        current = pending.pop()
        if current.GetOptions().HasExtension(validate_pb2.message):
            return True
        if any(oneof.GetOptions().HasExtension(validate_pb2.oneof) for oneof in current.oneofs):
            return True
        for field in current.fields:
            if field.GetOptions().HasExtension(validate_pb2.field):
                return True
            inner = field.message_type
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                pending.append(inner)
    return False


def _validator(request: type[Message]) -> Callable[[Message], None]:
    import protovalidate

    validator = protovalidate.Validator()
    validator.collect_violations(request())

    def validate(message: Message) -> None:
        violations = validator.collect_violations(message)
        if violations:
            raise _invalid([_violation(violation) for violation in violations])

    return validate


def _invalid(violations: list[FieldViolation]) -> InvalidArgumentError:
    first, more = violations[0], len(violations) - 1
    message = f"{first.field}: {first.description}" + (f" (and {more} more)" if more else "")
    return InvalidArgumentError(Reason.FIELD_INVALID, message, violations=violations[:_MAX_VIOLATIONS])


def _violation(violation: protovalidate.Violation) -> FieldViolation:
    proto = violation.proto
    path = ""
    for element in proto.field.elements if proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    words = _PATTERNS_IN_WORDS.get(violation.rule_value) if proto.rule_id == "string.pattern" else None
    return FieldViolation(path, words or proto.message)
