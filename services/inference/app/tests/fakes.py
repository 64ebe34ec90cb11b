"""Hand-written stand-ins for the ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from libs.errors.errors import ServiceError
from libs.testing.eventually import eventually
from services.inference.domain.generation import Continuation, Piece
from services.inference.domain.models import Model, model_not_found


@dataclass
class Catalogue:
    """Has the models it was given."""

    known: Sequence[Model] = ()
    forgotten: int = 0

    async def models(self) -> Sequence[Model]:
        return self.known

    async def model(self, name: str) -> Model:
        for model in self.known:
            if model.name == name:
                return model
        raise model_not_found(name)

    async def loaded(self, name: str) -> Model:
        return await self.model(name)

    def forget(self) -> None:
        self.forgotten += 1


@dataclass
class Generator:
    """Says what it was given, then fails if it was given a failure."""

    pieces: Sequence[Piece] = ()
    error: ServiceError | None = None
    asked: list[Continuation] = field(default_factory=list)
    closed: bool = False

    async def generate(self, model: Model, continuation: Continuation) -> AsyncGenerator[Piece, None]:
        self.asked.append(continuation)
        try:
            for piece in self.pieces:
                yield piece
            if self.error:
                raise self.error
        finally:
            self.closed = True


@dataclass
class Probe:
    """Answers as `error` and `ready_error` say; not while it `hangs`, and never what it was asked while it `loses`.

    `cancelled` counts those who did not wait.
    """

    error: ServiceError | None = None
    ready_error: ServiceError | None = None
    hangs: bool = False
    loses: bool = False
    asked: int = 0
    cancelled: int = 0

    async def server_ready(self) -> None:
        return None

    async def model_ready(self, model: str) -> None:
        if self.ready_error:
            raise self.ready_error

    async def ask(self, model: Model) -> None:
        self.asked += 1
        lost = self.loses
        try:
            await eventually(lambda: not self.hangs and not lost, within_s=60, every_s=0.001)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error


@dataclass
class Control:
    """Notes what was loaded; waits until `may_end` is set."""

    reloaded: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    error: ServiceError | None = None

    async def reload(self, model: str) -> None:
        self.reloaded.append(model)
        await self.may_end.wait()
        if self.error:
            raise self.error


@dataclass
class Watch:
    """Notes deaths and returns."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def died(self, model: str) -> None:
        self.told.append(("died", model))

    def back(self, model: str) -> None:
        self.told.append(("back", model))


@dataclass
class Stamps:
    """Remembers what was written; fails as told."""

    versions: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    fails: bool = False

    async def write(self, versions: Mapping[str, str], gone: Collection[str]) -> bool:
        if self.fails:
            return False
        self.writes += 1
        self.versions = {name: one for name, one in self.versions.items() if name not in gone} | dict(versions)
        return True


@dataclass
class Counted:
    """An execution, and every word of what it used."""

    model: str
    words: list[tuple[int, int]] = field(default_factory=list)
    over: bool = False

    def used(self, *, input_tokens: int, output_tokens: int) -> None:
        self.words.append((input_tokens, output_tokens))


@dataclass
class Counter:
    """A meter that remembers."""

    allowance: int | None = None
    executions: list[Counted] = field(default_factory=list)

    def allowance_tokens(self) -> int | None:
        return self.allowance

    @asynccontextmanager
    async def executing(self, model: str) -> AsyncGenerator[Counted]:
        counted = Counted(model)
        self.executions.append(counted)
        try:
            yield counted
        finally:
            counted.over = True


@dataclass
class Clock:
    """Time that stands still until it is moved."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s
