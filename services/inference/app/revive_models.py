"""Brings models back whose process has died: the server goes on calling them ready, and each of their calls fails."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Collection
from contextlib import suppress

from libs.errors.errors import Reason, ServiceError
from libs.telemetry import logs
from services.inference.app.underway import Underway
from services.inference.domain.models import model_unavailable
from services.inference.domain.revival import Attempts
from services.inference.ports import ModelCatalogue, ModelControl, ModelProbe, ModelWatch

ANSWER_WITHIN_S = 5.0


class ReviveModels:
    """Loads a dead model afresh: one attempt at a time for each, with growing waits between them."""

    def __init__(
        self,
        catalogue: ModelCatalogue,
        probe: ModelProbe,
        control: ModelControl,
        underway: Underway,
        watch: ModelWatch,
        now_s: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._probe = probe
        self._control = control
        self._underway = underway
        self._watch = watch
        self._now_s = now_s
        self._attempts: dict[str, Attempts] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def reviving(self) -> Collection[str]:
        """Models that are being seen to right now."""
        return self._running.keys()

    def suspect(self, model: str) -> None:
        """Somebody was told that the model's process is dead. Returns at once; if it is true, streams that wait for the
        model end, and it is loaded again, unless that was done a moment ago."""
        if model in self._running or not self._attempts_at(model).due(self._now_s()):
            return
        # In a context of its own: it is not part of the call that has found out.
        task = asyncio.get_running_loop().create_task(self._revive(model), context=contextvars.Context())
        self._running[model] = task
        task.add_done_callback(lambda _: self._running.pop(model))

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in tuple(self._running.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _revive(self, model: str) -> None:
        try:
            if not await self._is_dead(model):
                return
            self._attempts[model] = self._attempts_at(model).made(self._now_s())
            logs.warning("model died", model=model)
            self._watch.died(model)
            self._underway.cut(model, model_unavailable(model, "its process died"))
            await self._control.reload(model)
            self._watch.back(model)
            logs.info("model revived", model=model)
        except ServiceError as error:
            logs.warning("model not revived", model=model, why=error.message)

    def _attempts_at(self, model: str) -> Attempts:
        """Keeps nothing of a model that never died: a caller may suspect any name."""
        return self._attempts.get(model, Attempts())

    async def _is_dead(self, model: str) -> bool:
        """Asks it: the suspicion may be old, or words that a caller put into a model's mouth. Busy is not dead."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._probe.ask(await self._catalogue.loaded(model))
        except TimeoutError:
            return False
        except ServiceError as error:
            return error.reason is Reason.MODEL_UNAVAILABLE
        return False
