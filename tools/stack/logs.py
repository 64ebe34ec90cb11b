"""The parts' logs: kept within bounds, and read."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLLOW_POLL_S = 0.2
BLOCK_BYTES = 64 * 1024


def rotate(log: Path, limit_bytes: int) -> None:
    """Moves the content of a log over the limit to `NAME.log.1`, whose former content goes.

    The part keeps its open file: the content is copied and the file emptied, as its writers append. What is written in
    between is lost, some milliseconds of output at most.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return
        partial = log.with_name(log.name + ".partial")
        shutil.copyfile(log, partial)
        os.truncate(log, 0)
        partial.replace(log.with_name(log.name + ".1"))
    except FileNotFoundError:
        return


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines, oldest first, those of the rotated file included where needed."""
    lines: list[str] = []
    for path in (log, log.with_name(log.name + ".1")):
        if len(lines) < count and path.exists():
            lines = _tail(path, count - len(lines)) + lines
    return lines


def follow(logs: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Lines as they are written from this call on, without an end. A log may come later, or be emptied meanwhile."""
    return _follow({log: _size(log) for log in logs})


def _follow(positions: dict[Path, int]) -> Iterator[tuple[Path, str]]:
    partial = dict.fromkeys(positions, "")
    while True:
        idle = True
        for log in positions:
            size = _size(log)
            if size < positions[log]:
                positions[log], partial[log] = 0, ""
            if size == positions[log]:
                continue
            idle = False
            with log.open("rb") as file:
                file.seek(positions[log])
                content = file.read(BLOCK_BYTES)
                positions[log] += len(content)
            *lines, partial[log] = (partial[log] + content.decode(errors="replace")).split("\n")
            for line in lines:
                yield log, line
        if idle:
            time.sleep(FOLLOW_POLL_S)


def _tail(path: Path, count: int) -> list[str]:
    """Reads from the end, block by block, so that a large log costs no more than what is shown."""
    content = b""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0 and content.count(b"\n") <= count:
            step = min(BLOCK_BYTES, position)
            position -= step
            file.seek(position)
            content = file.read(step) + content
    return content.decode(errors="replace").splitlines()[-count:] if count > 0 else []


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
