"""Log lines are JSON objects, prompt, and never lost at the end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from libs.telemetry import logs
from libs.testing.eventually import eventually


@pytest.fixture
def pipe() -> Iterator[int]:
    """Logs go to the pipe whose reading end this is."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("lab", "info", writing)
    yield reading
    logs.stop()
    root.handlers[:] = handlers
    root.setLevel(level)
    os.close(reading)
    os.close(writing)


def lines(reading: int) -> list[dict[str, Any]]:
    try:
        return [orjson.loads(line) for line in os.read(reading, 1 << 20).splitlines()]
    except BlockingIOError:
        return []


def test_a_line_has_its_fields(pipe: int) -> None:
    """A line has time, level, service, event and what the event says; below the level there is none."""
    logs.debug("unseen")
    logs.info("seen", count=3)
    (line,) = lines(pipe)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "service": "lab", "event": "seen", "count": 3}


def test_an_error_has_its_traceback(pipe: int) -> None:
    """The traceback is one field of one line."""
    try:
        raise ValueError("broken\nbadly")
    except ValueError as error:
        logs.error("failed", error)
    (line,) = lines(pipe)
    assert line["level"] == "error"
    assert "ValueError: broken\nbadly" in line["traceback"]


def test_library_records_are_lines_too(pipe: int) -> None:
    """Warnings of the standard library's logging are JSON lines; their info is not logged."""
    logging.getLogger("some.library").info("unseen")
    logging.getLogger("some.library").warning("%s is odd", "it")
    (line,) = lines(pipe)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "some.library", "it is odd")


async def test_lines_of_a_loop_are_written_together_and_soon(pipe: int) -> None:
    """In a loop, lines wait for each other for a moment; an error waits for nobody."""
    logs.info("one")
    logs.info("two")
    assert lines(pipe) == []
    written = await eventually(lambda: lines(pipe))
    assert [line["event"] for line in written] == ["one", "two"]
    logs.info("three")
    logs.error("four")
    assert [line["event"] for line in lines(pipe)] == ["three", "four"]


def test_a_value_that_is_no_json_is_text(pipe: int) -> None:
    """Whatever a field holds, the line is written."""
    logs.info("odd", value={1, 2}, key={3: "three"}, text="\ud800")
    assert len(lines(pipe)) == 1


def test_a_closed_stdout_ends_nothing() -> None:
    """Lines that cannot be written are lost, not raised."""
    reading, writing = os.pipe()
    os.close(reading)
    logs.Writer(writing).write(b"lost\n", at_once=True)
    os.close(writing)
