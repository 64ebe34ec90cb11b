"""What kept answers are compared with."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from libs.testing.eventually import eventually
from services.inference.app import keep_stamps as module
from services.inference.app.keep_stamps import KeepStamps
from services.inference.app.tests.fakes import Catalogue, Stamps
from services.inference.domain.models import Model, ModelState

ONE = Model("one", "1", ModelState.READY)
TWO = Model("two", "3", ModelState.READY)


async def test_models_that_answer_have_a_stamp() -> None:
    """Their version; a model that is not ready has none."""
    stamps = Stamps()
    await KeepStamps(Catalogue([ONE, TWO.at("3", ModelState.UNAVAILABLE)]), stamps).changed()
    assert stamps.versions == {"one": "1"}


async def test_a_change_is_written_before_its_caller_is_told() -> None:
    """A new version, a model that was unloaded, and one that is gone; what was known is looked up anew."""
    catalogue, stamps = Catalogue([ONE, TWO]), Stamps()
    keep = KeepStamps(catalogue, stamps)
    await keep.changed()
    catalogue.known = [ONE.at("2", ModelState.READY), TWO.at("3", ModelState.UNAVAILABLE)]
    await keep.changed()
    assert (stamps.versions, catalogue.forgotten) == ({"one": "2"}, 2)
    catalogue.known = [TWO]
    await keep.changed()
    assert stamps.versions == {"two": "3"}


async def test_what_others_wrote_is_left_alone() -> None:
    """Another inference server's models are not this one's to forget."""
    stamps = Stamps({"theirs": "9"})
    await KeepStamps(Catalogue([ONE]), stamps).changed()
    assert stamps.versions == {"theirs": "9", "one": "1"}


async def test_what_was_not_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis comes back, or has lost what it had."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)
    stamps = Stamps(fails=True)
    task = asyncio.create_task(KeepStamps(Catalogue([ONE]), stamps)())
    await asyncio.sleep(0)
    stamps.fails = False
    await eventually(lambda: stamps.versions == {"one": "1"})
    stamps.versions = {}
    await eventually(lambda: stamps.versions == {"one": "1"})
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_has_not_changed_is_not_written_again() -> None:
    """Two looks, one write."""
    stamps = Stamps()
    keep = KeepStamps(Catalogue([ONE]), stamps)
    await keep.changed()
    await keep.changed()
    assert stamps.writes == 1
