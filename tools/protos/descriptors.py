"""The contracts as a descriptor set for the transcoder: what it needs to read and write the messages, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodOptions
from google.rpc import error_details_pb2, status_pb2

ERROR_TYPES = (
    status_pb2.Status,
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
)
"""What errors are made of (libs.rpc.status)."""


def descriptor_set(methods: Iterable[MethodDescriptor]) -> FileDescriptorSet:
    """The services of `methods` with their messages and the errors', each file behind those that it needs.

    Of the options only `google.api.http` is left; comments, extensions and what no message reaches are not.
    """
    chosen = {method.full_name: method for method in methods}
    types = _reached(
        [
            *(kind for method in chosen.values() for kind in (method.input_type, method.output_type)),
            *(kind.DESCRIPTOR for kind in ERROR_TYPES),
        ]
    )
    files = {file.name: file for file in (*types.values(), *(m.containing_service.file for m in chosen.values()))}
    ordered: dict[str, FileDescriptor] = {}
    for name in sorted(files):
        _place(files[name], ordered)
    kept = [file for name, file in ordered.items() if name in files]
    return FileDescriptorSet(file=[_pruned(file, files.keys(), types.keys(), chosen.keys()) for file in kept])


def _reached(roots: Iterable[Descriptor | EnumDescriptor]) -> dict[str, FileDescriptor]:
    """The outermost types that `roots` use, by full name, with the files that have them."""
    seen: set[str] = set()
    found: dict[str, FileDescriptor] = {}
    waiting = list(roots)
    while waiting:
        kind = waiting.pop()
        if kind.full_name in seen:
            continue
        seen.add(kind.full_name)
        outermost = kind
        while outermost.containing_type is not None:
            outermost = outermost.containing_type
        found[outermost.full_name] = kind.file
        if isinstance(kind, Descriptor):
            waiting += _used_by(kind)
    return found


def _used_by(message: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
    for field in message.fields:
        kind = field.message_type or field.enum_type
        if kind is not None:
            yield kind


def _place(file: FileDescriptor, ordered: dict[str, FileDescriptor]) -> None:
    for dependency in file.dependencies:
        _place(dependency, ordered)
    ordered.setdefault(file.name, file)


def _pruned(
    file: FileDescriptor, files: Iterable[str], types: Iterable[str], methods: Iterable[str]
) -> FileDescriptorProto:
    whole = FileDescriptorProto()
    file.CopyToProto(whole)
    left = FileDescriptorProto(name=whole.name, package=whole.package, syntax=whole.syntax)
    left.dependency.extend(name for name in whole.dependency if name in files)
    for message in whole.message_type:
        if f"{whole.package}.{message.name}" in types:
            _forget_options(message)
            left.message_type.append(message)
    left.enum_type.extend(enum for enum in whole.enum_type if f"{whole.package}.{enum.name}" in types)
    for service in whole.service:
        service.ClearField("options")
        for at in reversed(range(len(service.method))):
            method = service.method[at]
            if f"{whole.package}.{service.name}.{method.name}" not in methods:
                del service.method[at]
                continue
            http = method.options.Extensions[annotations_pb2.http]
            method.options.CopyFrom(MethodOptions())
            method.options.Extensions[annotations_pb2.http].CopyFrom(http)
        if service.method:
            left.service.append(service)
    return left


def _forget_options(message: DescriptorProto) -> None:
    """Those of fields: they are protovalidate's, which the services read. That a message is a map's entry stays."""
    for field in message.field:
        field.ClearField("options")
    for nested in message.nested_type:
        _forget_options(nested)
