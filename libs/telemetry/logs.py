"""JSON lines on stdout: one object a line, written soon but not one system call each.

A line has `time`, `level`, `service`, `event`, then the ids of the running call where there is one, then what the event
has to say. Never secrets, tokens or message bodies.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

FLUSH_AFTER_S = 0.02
FLUSH_AT_BYTES = 1 << 16

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS

call_fields: ContextVar[Mapping[str, str]] = ContextVar("call_fields")
"""Ids of the running call, set by who runs it; they stand in every line that is logged under it."""


class Writer:
    """Collects lines and writes them together, FLUSH_AFTER_S after the first; at once outside of a loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        atexit.register(self.flush)

    def write(self, line: bytes, *, at_once: bool = False) -> None:
        self._lines.append(line)
        self._size += len(line)
        if at_once or self._size >= FLUSH_AT_BYTES:
            self.flush()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Writes what there is. A closed stdout loses the lines: a service does not die of its log."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._size = self._lines, [], 0
        data = b"".join(lines)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return


class _Output:
    """Where lines go; nothing is written before `configure`."""

    def __init__(self) -> None:
        self.writer: Writer | None = None
        self.service = ""
        self.level = logging.INFO


_output = _Output()


def configure(service: str, level: str = "info", descriptor: int | None = None) -> None:
    """Sends lines of `level` and above to stdout, or to `descriptor`, and with them the standard library's records."""
    _output.writer = Writer(sys.stdout.fileno() if descriptor is None else descriptor)
    _output.service = service
    _output.level = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(_output.level, logging.WARNING), handlers=[_StandardHandler()], force=True)


def debug(event: str, **fields: Any) -> None:
    _log(logging.DEBUG, event, fields)


def info(event: str, **fields: Any) -> None:
    _log(logging.INFO, event, fields)


def warning(event: str, **fields: Any) -> None:
    _log(logging.WARNING, event, fields)


def error(event: str, error: BaseException | None = None, **fields: Any) -> None:
    """`error`: its traceback becomes the field `traceback`, as text."""
    if error is not None:
        fields["traceback"] = "".join(traceback.format_exception(error))
    _log(logging.ERROR, event, fields)


def stop() -> None:
    """Writes what is still held back, and nothing from then on."""
    flush()
    _output.writer = None


def flush() -> None:
    """Writes what is still held back."""
    if _output.writer is not None:
        _output.writer.flush()


def _log(level: int, event: str, fields: Mapping[str, Any]) -> None:
    writer = _output.writer
    if writer is None or level < _output.level:
        return
    line = {
        "time": datetime.now(UTC),
        "level": logging.getLevelName(level).lower(),
        "service": _output.service,
        "event": event,
        **call_fields.get({}),
        **fields,
    }
    writer.write(_encoded(line), at_once=level >= logging.ERROR)


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, default=str, option=_OPTIONS)
    except TypeError:  # text that is no Unicode, which orjson refuses
        return json.dumps(line, default=str, ensure_ascii=False).encode(errors="replace") + b"\n"


class _StandardHandler(logging.Handler):
    """Log records of libraries, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        _log(record.levelno, "log", fields)
