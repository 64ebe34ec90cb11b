"""How the contracts' methods are called by REST: their `google.api.http` options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from libs.contracts.policies import own_services

_VARIABLE = re.compile(r"{([a-z0-9_.]+)}")
WHOLE = "*"
"""As `body`: the request, without what the path holds."""


@dataclass(frozen=True)
class RestMethod:
    """A method's REST form. `body` is "" (none), WHOLE or a field; `response_body` "" (the whole answer) or a field."""

    method: MethodDescriptor
    verb: str
    template: str
    body: str
    response_body: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The fields that the path holds, dotted where nested, in the path's order."""
        return tuple(_VARIABLE.findall(self.template))

    def field(self, path: str) -> FieldDescriptor:
        """A field of the request. Raises KeyError for one that it does not have."""
        outer, _, last = path.rpartition(".")
        return self.message(outer).fields_by_name[last]

    def message(self, path: str) -> Descriptor:
        """The message in a field of the request; for "" the request. Raises KeyError where there is none."""
        message: Descriptor = self.method.input_type
        for name in path.split(".") if path else ():
            inner = message.fields_by_name[name].message_type
            if inner is None:
                raise KeyError(name)
            message = inner
        return message


def rest_methods() -> Iterator[RestMethod]:
    """Every method that has a REST form, in the contracts' order. Raises what `rest_method` raises."""
    for service in own_services():
        for method in service.methods:
            if method.GetOptions().HasExtension(annotations_pb2.http):
                yield rest_method(method)


def rest_method(method: MethodDescriptor) -> RestMethod:
    """The form of one that has one. Raises ValueError for a rule that is more than a verb, a path and bodies."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    if verb in (None, "custom") or rule.additional_bindings or rule.selector:
        raise ValueError(f"{method.full_name}: say one of get, put, post, delete or patch, and nothing beside it")
    template = getattr(rule, verb)
    found = RestMethod(method, verb.upper(), template, rule.body, rule.response_body)
    if not template.startswith("/") or re.search(r"[{}*=]", _VARIABLE.sub("", template)):
        raise ValueError(f"{method.full_name}: {template!r} is more than fixed segments and {{field}}")
    for path in (*found.variables, *((rule.body,) if rule.body not in ("", WHOLE) else ())):
        try:
            found.field(path)
        except KeyError:
            raise ValueError(f"{method.full_name}: the request has no field {path!r}") from None
    return found
