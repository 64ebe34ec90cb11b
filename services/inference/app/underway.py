"""The streams under way: what waits for a model that has died would wait until its deadline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from libs.errors.errors import ServiceError


class Stream:
    """A stream that can be cut. `error` is why it was, and is to be raised by whoever reads the stream."""

    __slots__ = ("_cancel", "error")

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self.error: ServiceError | None = None

    def cut(self, error: ServiceError) -> None:
        """Ends the stream; the first error counts."""
        if self.error is None:
            self.error = error
            self._cancel()


class Underway:
    """Which streams wait for which models."""

    def __init__(self) -> None:
        self._streams: defaultdict[str, set[Stream]] = defaultdict(set)

    def enter(self, model: str, stream: Stream) -> None:
        """The stream asks `model` from now on; a second time changes nothing."""
        self._streams[model].add(stream)

    def leave(self, model: str, stream: Stream) -> None:
        """The stream is over."""
        self._streams[model].discard(stream)
        if not self._streams[model]:
            del self._streams[model]

    def cut(self, model: str, error: ServiceError) -> None:
        """Ends every stream that asks `model`."""
        for stream in tuple(self._streams.get(model, ())):
            stream.cut(error)
