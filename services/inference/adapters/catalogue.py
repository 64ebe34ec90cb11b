"""The models of the inference server, as its repository index and their configurations tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from libs.errors.errors import Kind, ServiceError
from services.inference.adapters.server import InferenceServer, pb
from services.inference.domain.models import Model, ModelState, kind_of, model_not_found

INDEX_AGE_S = 1.0
CONFIGURATION_AGE_S = 10.0
AT_A_TIME = 8

_STATES = {
    "READY": ModelState.READY,
    "LOADING": ModelState.LOADING,
    "UNLOADING": ModelState.UNAVAILABLE,
    "UNAVAILABLE": ModelState.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class _Known:
    """What was learnt of a model, and when."""

    model: Model
    learnt_s: float


class TritonCatalogue:
    """ModelCatalogue; what it says is at most INDEX_AGE_S old, configurations at most CONFIGURATION_AGE_S."""

    def __init__(self, server: InferenceServer, now_s: Callable[[], float]) -> None:
        self._server = server
        self._now_s = now_s
        self._index: Sequence[Any] = ()
        self._index_learnt_s = float("-inf")
        self._index_lock = asyncio.Lock()
        self._known: dict[str, _Known] = {}
        self._bulkhead = asyncio.Semaphore(AT_A_TIME)

    async def models(self) -> Sequence[Model]:
        """See the port."""
        newest: dict[str, Any] = {}
        for entry in await self._fresh_index():
            newest[entry.name] = max(newest.get(entry.name, entry), entry, key=_rank)
        return await asyncio.gather(*(self._at_state(newest[name]) for name in sorted(newest)))

    async def model(self, name: str) -> Model:
        """See the port."""
        entries = [entry for entry in await self._fresh_index() if entry.name == name]
        if not entries:
            raise model_not_found(name)
        return await self._at_state(max(entries, key=_rank))

    def forget(self) -> None:
        """Models were loaded or unloaded: what is known of them is out of date."""
        self._index_learnt_s = float("-inf")
        self._known = {name: _Known(known.model, float("-inf")) for name, known in self._known.items()}

    async def loaded(self, name: str) -> Model:
        """See the port."""
        known = self._known.get(name)
        if known is None or self._now_s() > known.learnt_s + CONFIGURATION_AGE_S:
            known = await self._learn(name)
        return known.model

    async def _at_state(self, entry: Any) -> Model:
        """The model of an entry; one that is not loaded with what was known of it before, if anything."""
        state = _STATES.get(entry.state, ModelState.UNSPECIFIED)
        try:
            model = await self.loaded(entry.name)
        except ServiceError as error:
            if error.kind not in (Kind.NOT_FOUND, Kind.UNAVAILABLE):
                raise
            known = self._known.get(entry.name)
            model = known.model if known else Model(entry.name)
        return model.at(entry.version, state)

    async def _fresh_index(self) -> Sequence[Any]:
        async with self._index_lock:
            if self._now_s() > self._index_learnt_s + INDEX_AGE_S:
                self._index = (await self._server.call("RepositoryIndex", pb.RepositoryIndexRequest())).models
                self._index_learnt_s = self._now_s()
        return self._index

    async def _learn(self, name: str) -> _Known:
        entries = [entry for entry in await self._fresh_index() if entry.name == name]
        async with self._bulkhead:
            answer = await self._server.call("ModelConfig", pb.ModelConfigRequest(name=name), name)
        version = max(entries, key=_rank).version if entries else ""
        known = self._known[name] = _Known(model_of(answer.config, version), self._now_s())
        return known


def model_of(config: Any, version: str = "") -> Model:
    """What a configuration says of its model."""
    inputs = frozenset(tensor.name for tensor in config.input)
    outputs = frozenset(tensor.name for tensor in config.output)
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    return Model(
        config.name,
        version,
        kind=kind_of(inputs, outputs),
        inputs=inputs,
        parameters=parameters,
        decoupled=config.model_transaction_policy.decoupled,
    )


def _rank(entry: Any) -> tuple[bool, int]:
    """Ready versions first, of those the highest."""
    return entry.state == "READY", int(entry.version) if entry.version.isdecimal() else -1
