"""Keeps the models' stamps up to date: what kept answers of other services are compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from libs.errors.errors import ServiceError
from libs.telemetry import logs
from services.inference.domain.models import ModelState
from services.inference.ports import ModelCatalogue, ModelStamps

LOOK_EVERY_S = 2.0
WRITE_EVERY = 15
"""What has not changed is written at each so-manieth look, in case that it was lost."""


class KeepStamps:
    """Writes each model's version where it has changed; models that do not answer have none.

    A change that goes through this service is written before who made it is told; others at the next look.
    """

    def __init__(self, catalogue: ModelCatalogue, stamps: ModelStamps) -> None:
        self._catalogue = catalogue
        self._stamps = stamps
        self._written: Mapping[str, str] | None = None
        self._ever: set[str] = set()
        self._lock = asyncio.Lock()

    async def changed(self) -> None:
        """Models were loaded or unloaded. Raises no ServiceError."""
        self._catalogue.forget()
        await self._look()

    async def __call__(self) -> None:
        """Looks again and again, until it is cancelled."""
        looks = 0
        while True:
            if looks % WRITE_EVERY == 0:
                self._written = None
            looks += 1
            try:
                await self._look()
            except Exception as error:
                logs.error("model stamps not looked after", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        async with self._lock:
            with suppress(ServiceError):  # The server is away: what it had is what is true.
                models = await self._catalogue.models()
                versions = {model.name: model.version for model in models if model.state is ModelState.READY}
                gone = ({model.name for model in models} | self._ever) - versions.keys()
                if versions != self._written and await self._stamps.write(versions, gone):
                    self._written = versions
                    self._ever |= versions.keys()
