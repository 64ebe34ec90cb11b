"""YAML with places: each value knows its file, its line and its way, and hands out no field that nobody expects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.problems import MeshError, Place, Problem

# Without a zero before others: that is an octal number to Kubernetes.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|us|ns))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_GO_BOOLEANS = frozenset({"y", "Y", "n", "N"})
"""What YAML 1.1 of Go reads as a boolean, and PyYAML as text."""

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Node:
    """A value of a document. Reading it as what it is not raises MeshError."""

    place: Place
    path: str
    _node: yaml.Node

    def problem(self, text: str) -> MeshError:
        """To be raised: what is wrong with this value."""
        return MeshError([Problem(self.place, self.path, text)])

    @property
    def is_map(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_text(self) -> bool:
        return self._node.tag == _TEXT

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written: null, {}, [] or ""."""
        return not self._node.value or self._node.tag == "tag:yaml.org,2002:null"

    def fields(self, *known: str, required: tuple[str, ...] = ()) -> Mapping[str, Node]:
        """The fields of a map, by name, in written order. Any that is not `known` (or `required`) is refused."""
        found = self.entries()
        for name, node in found.items():
            if name not in known and name not in required:
                expected = ", ".join(sorted({*known, *required}))
                raise node.problem(f"is not supported here; what is: {expected or 'nothing'}")
        for name in required:
            if name not in found:
                raise self.problem(f"{name} is missing; add it")
        return found

    def entries(self) -> Mapping[str, Node]:
        """The fields of a map whose names are the author's, such as labels."""
        if not isinstance(self._node, yaml.MappingNode):
            empty = "; write {} if nothing is meant" if self._kind == "nothing" else ""
            raise self.problem(f"must be a map, and is {self._kind}{empty}")
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            place = _place(key)
            if key.tag == _MERGE or not isinstance(key, yaml.ScalarNode):
                raise MeshError([Problem(place, self.path, "merge keys and keys that are no texts are not supported")])
            name = str(key.value)
            node = Node(place, f"{self.path}.{name}" if self.path else name, value)
            if key.style is None and (name in _GO_BOOLEANS or key.tag == "tag:yaml.org,2002:bool"):
                raise node.problem(f"the name {name} is a boolean to Kubernetes; write it in quotes")
            if name in found:
                raise node.problem(f"is there twice, first on line {found[name].place.line}; remove one")
            found[name] = node
        return found

    def items(self) -> list[Node]:
        """The items of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.problem(f"must be a list, and is {self._kind}")
        return [Node(_place(item), f"{self.path}[{number}]", item) for number, item in enumerate(self._node.value)]

    def text(self, *, empty: bool = False) -> str:
        """A text, not empty unless `empty`."""
        if self._scalar() in _GO_BOOLEANS and self._plain:
            raise self.problem(f"{self._scalar()} is a boolean to Kubernetes; write it in quotes")
        if self._node.tag != _TEXT:
            raise self.problem(f"must be a text, and is {self._kind}; write it in quotes")
        if not self._scalar() and not empty:
            raise self.problem("must not be empty")
        return self._scalar()

    def texts(self) -> list[str]:
        """A list of texts."""
        return [item.text() for item in self.items()]

    def texts_by_name(self) -> dict[str, str]:
        """A map of texts, such as labels."""
        return {name: node.text(empty=True) for name, node in self.entries().items()}

    def choice(self, *choices: str) -> str:
        """One of these."""
        value = self.text(empty=True)
        if value not in choices:
            raise self.problem(f"{value!r} is not supported; what is: {', '.join(choices)}")
        return value

    def integer(self, least: int = 0, most: int = 2**32 - 1) -> int:
        """A whole number within bounds."""
        if self._node.tag != "tag:yaml.org,2002:int" or not _INTEGER.fullmatch(self._scalar()):
            raise self.problem(f"must be a whole number, and is {self._kind}")
        value = int(self._scalar())
        if not least <= value <= most:
            raise self.problem(f"{value} is not within {least} to {most}")
        return value

    def number(self, least: float, most: float) -> float:
        """A number within bounds."""
        if self.is_text or not _NUMBER.fullmatch(self._scalar()):
            raise self.problem(f"must be a decimal number, and is {self._kind}")
        value = float(self._scalar())
        if not least <= value <= most:
            raise self.problem(f"{value:g} is not within {least:g} to {most:g}")
        return value

    def flag(self) -> bool:
        """true or false."""
        if self._node.tag != "tag:yaml.org,2002:bool" or self._scalar() not in ("true", "false"):
            raise self.problem("must be true or false")
        return self._scalar() == "true"

    def duration_s(self, least_s: float = 0.001) -> float:
        """Seconds, from what Go calls a duration: 1.5s, 200ms, 1h30m."""
        value = self.text()
        if not _DURATION.fullmatch(value):
            raise self.problem(f"{value!r} is not a duration; write it as 1.5s, 200ms or 1h30m")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
        if seconds < least_s:
            raise self.problem(f"{value} is less than {least_s:g}s, the least that is allowed")
        return seconds

    def block(self) -> tuple[str, Place]:
        """A text written as a literal block ("|-"), and where it begins."""
        if not isinstance(self._node, yaml.ScalarNode) or self._node.style != "|":
            raise self.problem('must be a literal block, begun with "|-"')
        return self._scalar(), Place(self.place.file, self._node.start_mark.line + 2)

    def add(self, name: str, value: Node) -> None:
        """Adds a field to this map, or an item to this list (`name` is "-"), for all who read the document after."""
        if isinstance(self._node, yaml.MappingNode):
            mark = value._node.start_mark
            self._node.value = [pair for pair in self._node.value if pair[0].value != name]
            self._node.value.append((yaml.ScalarNode(_TEXT, name, mark, mark), value._node))
        elif isinstance(self._node, yaml.SequenceNode) and name == "-":
            self._node.value.append(value._node)
        else:
            raise self.problem(f"nothing called {name!r} can be added to {self._kind}")

    def plain(self) -> Any:
        """The whole value as JSON has it, for what is passed on as it is written."""
        if self.is_map:
            return {name: node.plain() for name, node in self.entries().items()}
        if self.is_list:
            return [item.plain() for item in self.items()]
        return yaml.SafeLoader("").construct_object(self._node)

    def _scalar(self) -> str:
        return str(self._node.value) if isinstance(self._node, yaml.ScalarNode) else ""

    @property
    def _plain(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self._node.style is None

    @property
    def _kind(self) -> str:
        kinds = {"map": "a map", "seq": "a list", "str": "a text", "int": "a number", "float": "a number"}
        kinds |= {"bool": "a boolean", "null": "nothing"}
        kind = kinds.get(self._node.tag.rpartition(":")[2], "something else")
        decimal = _NUMBER.fullmatch(self._scalar())
        return "a number that is not decimal" if kind == "a number" and not decimal else kind


def shown(file: Path) -> Path:
    """A path as it is told: relative to the repository where it is in it."""
    return file.relative_to(REPOSITORY_ROOT) if file.is_relative_to(REPOSITORY_ROOT) else file


def read_nodes(file: Path) -> Iterator[Node]:
    """The documents of a file; empty ones are left out. Raises MeshError where it cannot be read, or is no YAML."""
    place = Place(shown(file), 1)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise MeshError([Problem(place, "", f"cannot be read: {why}")]) from None
    yield from nodes_of(text, place)


def nodes_of(text: str, begin: Place) -> Iterator[Node]:
    """The documents of a text that begins at a place; empty ones are left out. Raises MeshError where it is no YAML."""
    # As many lines before it as there are, so that marks tell the file's own lines.
    try:
        loader = _Loader("\n" * (begin.line - 1) + text)
        loader.name = str(begin.file)
        while loader.check_node():
            node = loader.get_node()
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                yield Node(_place(node), "", node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else begin.line
        raise MeshError([Problem(Place(begin.file, line), "", f"is not YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise MeshError([Problem(begin, "", f"is not YAML: {error}")]) from None


class _Loader(yaml.SafeLoader):
    """Of what is written once and means what it looks like."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        what = "an alias (*)" if isinstance(event, yaml.AliasEvent) else f"the tag {event.tag}" if event.tag else ""
        if what:
            place = Place(Path(event.start_mark.name), event.start_mark.line + 1)
            raise MeshError([Problem(place, "", f"{what} is not supported: write out what is meant")])
        return super().compose_node(parent, index)


def _place(node: yaml.Node) -> Place:
    return Place(Path(node.start_mark.name), node.start_mark.line + 1)
