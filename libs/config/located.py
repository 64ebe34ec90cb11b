"""YAML whose values know where they stand, so that what is wrong with one can be told with its file and line.

Scalars are text: whoever reads one says what it must be. Nothing is made of tags, and every size has a bound, aliases
counted as often as they are used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4 << 20
MAX_VALUES = 200_000
MAX_DEPTH = 16

_NOTHING = ("", "~", "null", "Null", "NULL")
_TOO_DEEP = f"is nested more than {MAX_DEPTH} deep"


class LocatedError(Exception):
    """The file cannot be read as YAML; `problem` says where and why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class Located:
    """A value, and where it stands: `place` is "plans.yaml:12" (the line of its key), `path` "plans.gold.limits".

    `value`: text of a scalar, None for an empty one that is not in quotes; a mapping; a tuple of a list.
    """

    place: str
    path: str
    value: str | Mapping[str, Located] | tuple[Located, ...] | None

    def problem(self, what: str) -> str:
        """A line that says what is wrong here."""
        return f"{self.place}: {self.path}: {what}" if self.path else f"{self.place}: {what}"


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """That there is no such `what`, with the nearest that there is, or all of them where they are few."""
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"there is no {what} {name!r}; did you mean {near[0]!r}?"
    if not names:
        return f"there is no {what} {name!r}, and none is declared"
    return f"there is no {what} {name!r}; known are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"


def read_content(path: Path, name: str) -> bytes:
    """The file's bytes. Raises LocatedError, in which the file is called `name`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LocatedError(f"{name}: cannot be read ({error.strerror or error}): is the path right?") from None
    if len(content) > MAX_BYTES:
        raise LocatedError(f"{name}: is larger than {MAX_BYTES >> 20} MiB; split or shorten it")
    return content


def parse(content: bytes, name: str) -> Located:
    """The one document of a YAML text. Raises LocatedError, in which the file is called `name`."""
    try:
        return _Parser(name, yaml.parse(content.decode(), Loader=yaml.CSafeLoader)).document()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LocatedError(f"{name}:{line}: is not UTF-8; save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        told = f"cannot be read as YAML ({error.problem}); is the indentation right, are quotes and brackets closed?"
        raise LocatedError(f"{place}: {told}") from None
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position) + 1
        raise LocatedError(f"{name}:{line}: has a character that YAML forbids; remove it") from None


class _Parser:
    """Builds values from the parser's events, which come one at a time: a bomb is refused before it is unfolded."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name = name
        self._events = events
        self._anchors: dict[str, Located] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._count = 0

    def document(self) -> Located:
        """The root. A file without a document is an empty value."""
        next(self._events)  # the stream starts
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Located(f"{self._name}:1", "", None)
        root = self._value(next(self._events), "", 0, None)
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error(event, "a second document begins; a file holds one: remove the `---` before it")
        return root

    def _value(self, event: Any, path: str, depth: int, key: Any) -> Located:
        """`key`: the event of the key that it stands behind."""
        if depth > MAX_DEPTH:
            raise self._error(event, _TOO_DEEP)
        place = self._place(key or event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, path, depth)
        if event.tag is not None:
            raise self._error(event, f"the tag {event.tag!r} is not understood here; remove it")
        before = self._count
        self._grow(event, 1)
        value: str | Mapping[str, Located] | tuple[Located, ...] | None
        if isinstance(event, yaml.ScalarEvent):
            value = None if event.implicit[0] and event.value in _NOTHING else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = tuple(self._items(path, depth))
        else:
            value = self._mapping(path, depth)
        located = Located(place, path, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = located
            self._sizes[event.anchor] = self._count - before, _height(located)
        return located

    def _alias(self, event: Any, place: str, path: str, depth: int) -> Located:
        """What stands at the anchor, under the path of here; inner values keep the lines on which they stand."""
        if event.anchor not in self._anchors:
            raise self._error(event, f"the alias *{event.anchor} is of nothing that stands before it, whole")
        size, height = self._sizes[event.anchor]
        self._grow(event, size)
        if depth + height > MAX_DEPTH:
            raise self._error(event, _TOO_DEEP)
        return replace(_moved(self._anchors[event.anchor], path), place=place)

    def _items(self, path: str, depth: int) -> Iterator[Located]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._value(event, path, depth + 1, None)

    def _mapping(self, path: str, depth: int) -> Mapping[str, Located]:
        found: dict[str, Located] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self._error(key, "a key must be text")
            name = key.value
            if name == "<<" and key.implicit[0]:
                raise self._error(key, "merge keys (`<<`) are not understood here; write out what is meant")
            if name in found:
                there = found[name].place
                raise self._error(key, f"{_join(path, name)} stands twice, first at {there}; remove one")
            found[name] = self._value(next(self._events), _join(path, name), depth + 1, key)
        return found

    def _grow(self, event: Any, size: int) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            raise self._error(event, f"there are more than {MAX_VALUES:,} values, aliases counted as they are used")

    def _place(self, event: Any) -> str:
        return f"{self._name}:{event.start_mark.line + 1}"

    def _error(self, event: Any, what: str) -> LocatedError:
        return LocatedError(f"{self._place(event)}: {what}")


def _moved(located: Located, path: str) -> Located:
    value = located.value
    if isinstance(value, Mapping):
        value = {name: _moved(inner, _join(path, name)) for name, inner in value.items()}
    elif isinstance(value, tuple):
        value = tuple(_moved(inner, path) for inner in value)
    return replace(located, path=path, value=value)


def _height(located: Located) -> int:
    value = located.value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return 1 + max(map(_height, inner), default=-1)


def _join(path: str, name: str) -> str:
    """What a terminal or a log could take amiss is escaped."""
    shown = name[:100] if name.isprintable() else ascii(name[:100])[1:-1]
    return f"{path}.{shown}" if path else shown
