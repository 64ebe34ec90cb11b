"""Log lines are JSON objects, prompt, and never lost at the end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from libs.telemetry import logs
from libs.testing.eventually import eventually
from libs.testing.logged import logged

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines written since they were last asked for."""
    with logged() as lines:
        yield lines


def test_a_line_has_its_fields(lines: Lines) -> None:
    """A line has time, level, service, event and what the event says; below the level there is none."""
    logs.debug("unseen")
    logs.info("seen", count=3)
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "service": "lab", "event": "seen", "count": 3}


def test_an_error_has_its_traceback(lines: Lines) -> None:
    """The traceback is one field of one line."""
    try:
        raise ValueError("broken\nbadly")
    except ValueError as error:
        logs.error("failed", error)
    (line,) = lines()
    assert line["level"] == "error"
    assert "ValueError: broken\nbadly" in line["traceback"]


def test_library_records_are_lines_too(lines: Lines) -> None:
    """Warnings of the standard library's logging are JSON lines; their info is not logged."""
    logging.getLogger("some.library").info("unseen")
    logging.getLogger("some.library").warning("%s is odd", "it")
    (line,) = lines()
    assert (line["level"], line["logger"], line["message"]) == ("warning", "some.library", "it is odd")


async def test_lines_of_a_loop_are_written_together_and_soon(lines: Lines) -> None:
    """In a loop, lines wait for each other for a moment; an error waits for nobody."""
    logs.info("one")
    logs.info("two")
    assert lines() == []
    written = await eventually(lines)
    assert [line["event"] for line in written] == ["one", "two"]
    logs.info("three")
    logs.error("four")
    assert [line["event"] for line in lines()] == ["three", "four"]


def test_a_value_that_is_no_json_is_text(lines: Lines) -> None:
    """Whatever a field holds, the line is written."""
    logs.info("odd", value={1, 2}, key={3: "three"}, text="\ud800")
    assert len(lines()) == 1


def test_a_closed_stdout_ends_nothing() -> None:
    """Lines that cannot be written are lost, not raised."""
    reading, writing = os.pipe()
    os.close(reading)
    logs.Writer(writing).write(b"lost\n", at_once=True)
    os.close(writing)
