"""The settings file as it is in force: read again when it changes, and a spoilt one refused while the old stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from libs.config.files import file_stamp
from libs.plans.file import PlansError, load
from libs.plans.plans import Plans
from libs.telemetry import logs, metrics

LOOK_EVERY_S = 0.5
"""A change is in force after two looks: one sees it, the next that nobody writes any more."""


class PlansFile:
    """The plans of `path`. Asking for `current` costs nothing: reading is done by `watched`."""

    def __init__(self, path: Path) -> None:
        """Raises PlansError: without good settings there is no start."""
        self.path = path
        self._read = self._seen = file_stamp(path)
        self.current: Plans = load(path)
        self.load_time_s = time.time()
        """Unix time since which they are in force."""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the file as it is now; empty: it is in force."""
        self._refused = metrics.gauge(
            "weft_gateway_settings_refused", "1 while the settings file is spoilt and an older one is in force."
        )
        self._info = metrics.gauge("weft_gateway_settings_info", "The settings file in force.", ("version",))
        self._tell()

    async def look(self) -> None:
        """Reads the file again where it has changed and stands still since the last look."""
        stamp = file_stamp(self.path)
        stands_still, self._seen = stamp == self._seen, stamp
        if stamp == self._read or not stands_still:
            return
        try:
            plans = await asyncio.to_thread(load, self.path)
            problems: tuple[str, ...] = ()
        except PlansError as error:
            plans, problems = self.current, tuple(error.problems)
        if file_stamp(self.path) != stamp:
            return  # it was written while it was read: what was read may be neither the old nor the new
        self._read = stamp
        self._take(plans, problems)

    def _take(self, plans: Plans, problems: tuple[str, ...]) -> None:
        changed = plans.version != self.current.version
        before, self.problems = self.problems, problems
        if changed:
            self.current, self.load_time_s = plans, time.time()
        if problems:
            logs.error("settings refused", file=str(self.path), in_force=self.current.version, problems=problems)
        elif changed or before:
            logs.info("settings in force", file=str(self.path), version=plans.version)
        self._tell()

    def _tell(self) -> None:
        self._refused.set(bool(self.problems))
        self._info.clear()
        self._info.labels(version=self.current.version).set(1)


@asynccontextmanager
async def watched(path: Path, every_s: float = LOOK_EVERY_S) -> AsyncIterator[PlansFile]:
    """The file, looked at every so often while entered. Raises PlansError where it is spoilt at the start."""
    file = PlansFile(path)
    watching = asyncio.create_task(_watch(file, every_s))
    try:
        yield file
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(file: PlansFile, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await file.look()
        except Exception as error:
            logs.error("the settings file was not looked at", error)
