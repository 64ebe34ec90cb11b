"""Signs of life of the inference server and its models, and their reload."""

from __future__ import annotations

from contextlib import aclosing

from services.inference.adapters.generator import TritonGenerator
from services.inference.adapters.server import InferenceServer, pb, unreachable
from services.inference.adapters.tensors import add_text
from services.inference.domain.generation import Continuation
from services.inference.domain.models import Model, ModelKind, model_unavailable

LOAD_WITHIN_S = 600.0
"""A language model takes minutes."""


class TritonControl:
    """ModelProbe and ModelControl."""

    def __init__(self, server: InferenceServer, generator: TritonGenerator) -> None:
        self._server = server
        self._generator = generator

    async def server_ready(self) -> None:
        """See the port."""
        if not (await self._server.call("ServerReady", pb.ServerReadyRequest())).ready:
            raise unreachable()

    async def model_ready(self, model: str) -> None:
        """See the port."""
        if not (await self._server.call("ModelReady", pb.ModelReadyRequest(name=model), model)).ready:
            raise model_unavailable(model, "it is not loaded")

    async def ask(self, model: Model) -> None:
        """See the port. A model of an unknown kind cannot be asked: it is taken for dead."""
        if model.kind is ModelKind.GENERATE:
            async with aclosing(self._generator.generate(model, Continuation("?", 1))) as pieces:
                async for _ in pieces:
                    pass
        elif model.kind is ModelKind.EMBED:
            request = pb.ModelInferRequest(model_name=model.name)
            add_text(request, "TEXT", "?", (1, 1))
            await self._server.call("ModelInfer", request, model.name)
        else:
            raise model_unavailable(model.name, "it cannot be asked whether it is alive")

    async def reload(self, model: str) -> None:
        """See the port. A load alone changes nothing for the server, which takes the model for ready."""
        unload = pb.RepositoryModelUnloadRequest(model_name=model)
        await self._server.call("RepositoryModelUnload", unload, model)
        load = pb.RepositoryModelLoadRequest(model_name=model)
        await self._server.call("RepositoryModelLoad", load, model, within_s=LOAD_WITHIN_S)
