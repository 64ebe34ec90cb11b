"""Whether a model answers: found out by asking it, because the server calls dead models ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.errors.errors import Kind, ServiceError
from services.inference.domain.models import model_unavailable
from services.inference.ports import ModelCatalogue, ModelProbe

ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 1.5


class Canary:
    """A check of one model, cheap enough to be made every second: it asks the model once in ASK_EVERY_S.

    A model that is too busy to answer is no dead model: the last verdict stays. What it was asked is left to end by
    itself: Triton may crash, for everybody, where a call is cancelled while answers are due.
    """

    def __init__(self, model: str, catalogue: ModelCatalogue, probe: ModelProbe, now_s: Callable[[], float]) -> None:
        self._model = model
        self._catalogue = catalogue
        self._probe = probe
        self._now_s = now_s
        self._asked_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._problem: ServiceError | None = model_unavailable(model, "it has not answered yet")

    async def __call__(self) -> None:
        """Returns while the model answers; raises the ServiceError that says why it does not."""
        await self._probe.model_ready(self._model)
        if self._problem or self._now_s() >= self._asked_s + ASK_EVERY_S:
            self._asked_s = self._now_s()
            self._problem = await self._ask()
        if self._problem:
            raise self._problem

    async def _ask(self) -> ServiceError | None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._answer())
        done, _ = await asyncio.wait([self._asking], timeout=ANSWER_WITHIN_S)
        if not done:
            return self._problem
        asking, self._asking = self._asking, None
        try:
            asking.result()
        except ServiceError as error:
            return self._problem if error.kind is Kind.DEADLINE_EXCEEDED else error
        return None

    async def _answer(self) -> None:
        await self._probe.ask(await self._catalogue.loaded(self._model))
