"""Log lines as a test sees them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from libs.telemetry import logs


@contextmanager
def logged(level: str = "info") -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Keeps the logs of this process while entered; what it gives returns, at each call, the lines since the last."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    logs.configure("lab", level, writing)

    def lines() -> list[dict[str, Any]]:
        try:
            return [orjson.loads(line) for line in os.read(reading, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    try:
        yield lines
    finally:
        logs.stop()
        root.handlers[:] = handlers
        root.setLevel(root_level)
        os.close(reading)
        os.close(writing)
