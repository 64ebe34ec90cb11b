"""Builds the inference service from its settings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from libs.contracts.health_names import model_health
from libs.rpc.channel import carrying
from libs.rpc.server import Component
from services.inference.adapters.catalogue import TritonCatalogue
from services.inference.adapters.control import TritonControl
from services.inference.adapters.generator import TritonGenerator
from services.inference.adapters.server import InferenceServer, unreachable
from services.inference.adapters.stream_calls import StreamCalls
from services.inference.app.canary import Canary
from services.inference.app.generate_text import GenerateText
from services.inference.app.list_models import ListModels
from services.inference.app.revive_models import ReviveModels
from services.inference.app.underway import Underway
from services.inference.rpc.generation import GenerationServicer
from services.inference.rpc.models import ModelServicer
from services.inference.rpc.open_inference import SERVICE, Behind, OpenInferenceDoor
from services.inference.settings import InferenceSettings
from weft.inference.v1 import generation_service_pb2_grpc, model_service_pb2_grpc


@asynccontextmanager
async def inference(settings: InferenceSettings) -> AsyncIterator[Component]:
    """The inference service, with its channel to the inference server open."""
    # Nothing of the running call goes on to the inference server: it is not one of ours.
    async with carrying(settings.triton_address, lambda: None) as channel:
        server = InferenceServer(channel)
        underway = Underway()
        catalogue = TritonCatalogue(server, time.monotonic)
        generator = TritonGenerator(server, underway)
        control = TritonControl(server, generator)
        revive = ReviveModels(catalogue, control, control, underway, time.monotonic)
        server.on_dead = revive.suspect
        behind = Behind(channel, catalogue, server.answers, unreachable, partial(StreamCalls, server))
        door = OpenInferenceDoor(behind, revive, underway)
        generate = GenerateText(catalogue, generator, settings.default_generate_model)
        watched = {settings.default_generate_model, *settings.watched_models}
        canaries = {model: Canary(model, catalogue, control, time.monotonic) for model in watched}
        try:
            yield Component(
                servicers=[
                    (
                        generation_service_pb2_grpc.add_GenerationServiceServicer_to_server,
                        GenerationServicer(generate),
                    ),
                    (
                        model_service_pb2_grpc.add_ModelServiceServicer_to_server,
                        ModelServicer(ListModels(catalogue), catalogue),
                    ),
                ],
                passthrough=door.behaviours(),
                checks={
                    SERVICE: [control.server_ready],
                    "weft.inference.v1.ModelService": [control.server_ready],
                    "weft.inference.v1.GenerationService": [canaries[settings.default_generate_model]],
                    **{model_health(model): [canary] for model, canary in canaries.items()},
                },
            )
        finally:
            await revive.close()
