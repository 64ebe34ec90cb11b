import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.testing.eventually import eventually
from tools.localmesh.watch import Stamps, changes, stamps


async def test_every_way_of_saving_is_seen(tmp_path: Path) -> None:
    """A file that is written in place, renamed over, made, removed, or in a new folder changes the stamps; so does a
    single file that comes and goes. Other files do not."""
    rules, alone = tmp_path / "rules", tmp_path / "state.json"
    rules.mkdir()
    (rules / "one.yaml").write_text("a")
    seen: list[Stamps] = []
    known = stamps([rules], [alone])
    following = asyncio.create_task(_collect(changes([rules], [alone], known), seen))

    async def next_change() -> None:
        count = len(seen)
        await eventually(lambda: len(seen) > count)

    try:
        (rules / "notes.txt").write_text("not a rule")
        (rules / "one.yaml").write_text("in place")
        await next_change()
        (rules / ".one.tmp").write_text("renamed over")
        (rules / ".one.tmp").rename(rules / "one.yaml")
        await next_change()
        (rules / "deep").mkdir()
        (rules / "deep/two.yaml").write_text("new")
        await next_change()
        os.unlink(rules / "deep/two.yaml")
        await next_change()
        alone.write_text("{}")
        await next_change()
        assert seen[-1] == stamps([rules], [alone])
        assert rules / "notes.txt" not in seen[-1]
    finally:
        following.cancel()


async def test_what_still_changes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are told when they were found twice: half of a file is none."""
    each = [{tmp_path: (number, 0, 0)} for number in range(3)]
    looks = iter([each[1], each[2], each[2], each[2]])
    monkeypatch.setattr("tools.localmesh.watch.EVERY_S", 0.0)
    monkeypatch.setattr("tools.localmesh.watch.stamps", lambda folders, files: next(looks))
    assert await anext(changes([], [], each[0])) == each[2]
    assert list(looks) == [each[2]]


async def _collect(found: AsyncIterator[Stamps], seen: list[Stamps]) -> None:
    async for one in found:
        seen += [one]
