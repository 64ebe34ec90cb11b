"""Reading Envoy's JSON so that nothing is passed over: each field is read, or is in the list of what is no meaning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tools.meshjudge.meaning.ignored import IGNORED


class UnreadError(ValueError):
    """A field that the reader does not know: it must learn it, or `IGNORED` must say why it means nothing here."""


class Message:
    """A message of Envoy's API. `kind` is its short name, as `IGNORED` lists it."""

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        self.kind = kind
        self._left = {name: value for name, value in fields.items() if name != "@type"}

    def take(self, name: str, default: Any = None) -> Any:
        """The field's value; each may be taken once."""
        return self._left.pop(name, default)

    def has(self, name: str) -> bool:
        """Whether it is there and not yet taken."""
        return name in self._left

    def end(self) -> None:
        """Raises UnreadError for what was neither taken nor is ignored with a reason."""
        unread = sorted(set(self._left) - set(IGNORED.get(self.kind, ())))
        if unread:
            raise UnreadError(f"{self.kind}.{unread[0]} is not read: {self._left[unread[0]]!r}")


@contextlib.contextmanager
def reading(kind: str, fields: dict[str, Any] | None) -> Iterator[Message]:
    """The message, all of which must be read within the context."""
    message = Message(kind, fields or {})
    yield message
    message.end()


def type_of(packed: dict[str, Any]) -> str:
    """The short name of the message inside an Any."""
    return str(packed.get("@type", "")).rpartition(".")[2]


def compact(**meanings: Any) -> dict[str, Any]:
    """Without what is nothing."""
    return {name: value for name, value in meanings.items() if value not in (None, "", [], {}, False)}
