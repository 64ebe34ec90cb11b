"""The contracts' own words: their files with comments, and the comment of each thing in them by its full name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

_Place = tuple[int, ...]
_Named = tuple[str, _Place]


def described(proto: Path) -> list[FileDescriptorProto]:
    """Weft's contracts with their comments, ordered by name. Raises RuntimeError when protoc refuses one."""
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "descriptors")
        options = [f"--descriptor_set_out={out}", "--include_source_info"]
        if protoc.main(["protoc", f"--proto_path={proto}", f"--proto_path={well_known}", *options, *sources]) != 0:
            raise RuntimeError(f"protoc refused a file under {proto}; its message is above")
        files = FileDescriptorSet.FromString(out.read_bytes()).file
    return sorted((file for file in files if file.package.startswith("weft.")), key=lambda file: file.name)


def comments(proto: Path) -> Mapping[str, str]:
    """The comment above each service, method, message, field, enum and value, by its full name; a line a paragraph.

    A value's name is its enum's and its own.
    """
    found = {}
    for file in described(proto):
        said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for name, place in _named(file):
            found[name] = _paragraphs(said.get(place, ""))
    return found


def _paragraphs(comment: str) -> str:
    parts = "\n".join(line.strip() for line in comment.strip().splitlines()).split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def _named(file: FileDescriptorProto) -> Iterator[_Named]:
    """The numbers are those of the fields of FileDescriptorProto and of what it is made of (descriptor.proto)."""
    yield from _messages(file.message_type, f"{file.package}.", (4,))
    yield from _enums(file.enum_type, f"{file.package}.", (5,))
    for at, service in enumerate(file.service):
        yield from _service(service, f"{file.package}.{service.name}", (6, at))


def _messages(messages: Sequence[DescriptorProto], under: str, place: _Place) -> Iterator[_Named]:
    for at, message in enumerate(messages):
        name, here = f"{under}{message.name}", (*place, at)
        yield name, here
        for number, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*here, 2, number)
        yield from _messages(message.nested_type, f"{name}.", (*here, 3))
        yield from _enums(message.enum_type, f"{name}.", (*here, 4))


def _enums(enums: Sequence[EnumDescriptorProto], under: str, place: _Place) -> Iterator[_Named]:
    for at, enum in enumerate(enums):
        yield f"{under}{enum.name}", (*place, at)
        for number, value in enumerate(enum.value):
            yield f"{under}{enum.name}.{value.name}", (*place, at, 2, number)


def _service(service: ServiceDescriptorProto, name: str, place: _Place) -> Iterator[_Named]:
    yield name, place
    for at, method in enumerate(service.method):
        yield f"{name}.{method.name}", (*place, 2, at)
