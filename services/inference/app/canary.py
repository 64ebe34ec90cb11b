"""Whether a model answers: found out by asking it, because the server calls dead models ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.errors.errors import Kind, ServiceError
from services.inference.domain.models import model_unavailable
from services.inference.ports import ModelCatalogue, ModelProbe

ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 1.5
ASK_ANEW_AFTER_S = 10.0


class Canary:
    """A check of one model, cheap enough to be made every second: it asks the model once in ASK_EVERY_S.

    A model that is too busy to answer is no dead model: the last verdict stays. What it was asked is left to end by
    itself: Triton may crash, for everybody, where a call is cancelled while answers are due. But a question that was
    with the model when it died is never answered, while a new one is refused at once: so after ASK_ANEW_AFTER_S one is
    asked beside it, and each further one after twice as long.
    """

    def __init__(self, model: str, catalogue: ModelCatalogue, probe: ModelProbe, now_s: Callable[[], float]) -> None:
        self._model = model
        self._catalogue = catalogue
        self._probe = probe
        self._now_s = now_s
        self._asked_s = float("-inf")
        self._asking: list[asyncio.Task[None]] = []
        """Unanswered yet, the newest last."""
        self._begun_s = float("-inf")
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
        anew_after_s = ASK_ANEW_AFTER_S * 2 ** len(self._asking) / 2
        if not self._asking or self._now_s() >= self._begun_s + anew_after_s:
            self._asking.append(asyncio.create_task(self._answer()))
            self._begun_s = self._now_s()
        await asyncio.wait(self._asking, timeout=ANSWER_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        problem = self._problem
        for asking in [asking for asking in self._asking if asking.done()]:
            self._asking.remove(asking)
            try:
                asking.result()
                problem = None
            except ServiceError as error:
                if error.kind is not Kind.DEADLINE_EXCEEDED:
                    problem = error
        return problem

    async def _answer(self) -> None:
        await self._probe.ask(await self._catalogue.loaded(self._model))
