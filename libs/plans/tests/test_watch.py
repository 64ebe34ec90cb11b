"""A changed settings file is in force soon, a spoilt one never, and both are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.config.files import write_whole
from libs.config.settings import SettingsError
from libs.plans.watch import PlansFile, watched
from libs.telemetry import metrics
from libs.testing.eventually import eventually
from libs.testing.logged import logged

GOOD = "plans: {standard: {open_calls: 1}}\ndefault_plan: standard\n"
BETTER = "plans: {standard: {open_calls: 22}}\ndefault_plan: standard\n"
SPOILT = "plans:\n  standard: {open_calls: many, limit: none}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plans.yaml"
    path.write_text(GOOD)
    return path


def open_calls(file: PlansFile) -> int | None:
    plan = file.current.of("anybody")
    return None if plan is None else plan.open_calls


def put(path: Path, content: str) -> None:
    """In place, as an editor may; a folder that stands there goes."""
    if path.is_dir():
        path.rmdir()
    path.write_text(content)


async def look_twice(file: PlansFile) -> None:
    """A change is seen, then seen to stand still."""
    await file.look()
    await file.look()


async def test_a_changed_file_is_in_force(path: Path) -> None:
    """By itself, while the file is watched; its version and since when are told, also as a metric and a log line."""
    with logged() as lines:
        async with watched(path, every_s=0.02) as file:
            before = file.current
            assert (open_calls(file), metrics.value("weft_gateway_settings_info", version=before.version)) == (1, 1)
            write_whole(path, BETTER)
            await eventually(lambda: open_calls(file) == 22)
            after = file.current
        assert [line["event"] for line in await eventually(lines)] == ["settings in force"]
    assert before.version != after.version
    assert metrics.value("weft_gateway_settings_info", version=before.version) == 0
    assert metrics.value("weft_gateway_settings_info", version=after.version) == 1


async def test_a_spoilt_file_leaves_the_old_in_force(path: Path) -> None:
    """It is logged once, with all that is wrong; problems and metric say so until a good one comes."""
    file = PlansFile(path)
    since = file.load_time_s
    with logged() as lines:
        put(path, SPOILT)
        for _ in range(3):
            await look_twice(file)
        (line,) = lines()
        assert (line["event"], line["in_force"], len(line["problems"])) == ("settings refused", file.current.version, 2)
    assert (open_calls(file), file.load_time_s) == (1, since)
    assert [problem.partition(": ")[0] for problem in file.problems] == ["plans.yaml:2", "plans.yaml:2"]
    assert metrics.value("weft_gateway_settings_refused") == 1
    put(path, BETTER)
    await look_twice(file)
    assert (open_calls(file), file.problems) == (22, ())
    assert metrics.value("weft_gateway_settings_refused") == 0


def take_away(path: Path) -> None:
    path.unlink()


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("spoil", [take_away, make_a_folder, empty])
async def test_a_lost_file_leaves_the_old_in_force(path: Path, spoil: Callable[[Path], None]) -> None:
    """A file that is gone, no file, or empty is refused as any other; the old one put back is good again."""
    file = PlansFile(path)
    spoil(path)
    await look_twice(file)
    assert (open_calls(file), len(file.problems)) == (1, 1)
    put(path, GOOD)
    await look_twice(file)
    assert (open_calls(file), file.problems) == (1, ())


async def test_a_file_that_is_being_written_is_waited_for(path: Path) -> None:
    """Half of a file may be a good one, of which half the tenants are missing: it must stand still first."""
    file = PlansFile(path)
    for calls in (2, 33, 444):
        put(path, GOOD.replace(": 1}", f": {calls}}}"))
        await file.look()
        assert open_calls(file) == 1
    await file.look()
    assert open_calls(file) == 444


async def test_the_same_content_is_the_same_version(path: Path) -> None:
    """A file that is only touched changes nothing."""
    file = PlansFile(path)
    before, since = file.current, file.load_time_s
    write_whole(path, GOOD)
    await look_twice(file)
    assert (file.current, file.load_time_s) == (before, since)
    assert file.current is before


def test_a_spoilt_file_is_no_start(path: Path) -> None:
    """What is wrong is told as with every other setting."""
    path.write_text(SPOILT)
    with pytest.raises(SettingsError) as caught:
        PlansFile(path)
    assert len(caught.value.problems) == 2


async def test_nothing_watches_afterwards(path: Path) -> None:
    """Leaving ends the task."""
    before = asyncio.all_tasks()
    async with watched(path):
        assert len(asyncio.all_tasks() - before) == 1
    assert asyncio.all_tasks() == before
