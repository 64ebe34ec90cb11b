"""Builds the inference service from its settings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from libs.contracts.health_names import model_health
from libs.ledger.ledger import RedisLedger
from libs.rpc.beside import beside
from libs.rpc.channel import carrying
from libs.rpc.server import Component
from libs.store.redis import connect
from services.inference.adapters.catalogue import TritonCatalogue
from services.inference.adapters.control import TritonControl
from services.inference.adapters.generator import TritonGenerator
from services.inference.adapters.meter import CallMeter
from services.inference.adapters.server import InferenceServer, unreachable
from services.inference.adapters.stamps import RedisStamps
from services.inference.adapters.stream_calls import StreamCalls
from services.inference.app.canary import Canary
from services.inference.app.fall_back import FallBack
from services.inference.app.generate_text import GenerateText
from services.inference.app.keep_stamps import KeepStamps
from services.inference.app.list_models import ListModels
from services.inference.app.revive_models import ReviveModels
from services.inference.app.traffic import Traffic
from services.inference.app.turnstile import Turnstile
from services.inference.app.underway import Underway
from services.inference.domain.line import Bounds
from services.inference.rpc.generation import GenerationServicer
from services.inference.rpc.models import ModelServicer
from services.inference.rpc.open_inference import SERVICE, Behind, OpenInferenceDoor, Rules
from services.inference.settings import InferenceSettings
from weft.inference.v1 import generation_service_pb2_grpc, model_service_pb2_grpc

LEDGER_WITHIN_S = 5.0
"""At a stop, for what calls used to be written down."""


@asynccontextmanager
async def inference(settings: InferenceSettings) -> AsyncIterator[Component]:
    """The inference service, with its channel to the inference server open."""
    async with AsyncExitStack() as stack:
        # Nothing of the running call goes on to the inference server: it is not one of ours.
        channel = await stack.enter_async_context(carrying(settings.triton_address, lambda: None))
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        server = InferenceServer(channel)
        underway = Underway()
        meter = CallMeter()
        slots = dict(settings.model_slots)
        turnstile = Turnstile(
            lambda model: Bounds(slots.get(model, settings.slots), settings.queue), Traffic(), time.monotonic
        )
        catalogue = TritonCatalogue(server, time.monotonic)
        generator = TritonGenerator(server, underway)
        control = TritonControl(server, generator)
        revive = ReviveModels(catalogue, control, control, underway, turnstile, time.monotonic)
        stack.push_async_callback(revive.close)
        server.on_dead = revive.suspect
        ledger = RedisLedger(redis)
        stack.push_async_callback(ledger.aclose, LEDGER_WITHIN_S)
        stamps = KeepStamps(catalogue, RedisStamps(redis))
        await stack.enter_async_context(beside(stamps()))
        behind = Behind(channel, catalogue, server.answers, unreachable, partial(StreamCalls, server))
        door = OpenInferenceDoor(behind, Rules(turnstile, meter, stamps.changed), revive, underway)
        default = settings.default_generate_model
        generate = FallBack(
            GenerateText(catalogue, generator, turnstile, meter, default), dict(settings.fallbacks), default
        )
        canaries = {
            model: Canary(model, catalogue, control, time.monotonic) for model in {default, *settings.watched_models}
        }
        yield Component(
            servicers=[
                (generation_service_pb2_grpc.add_GenerationServiceServicer_to_server, GenerationServicer(generate)),
                (
                    model_service_pb2_grpc.add_ModelServiceServicer_to_server,
                    ModelServicer(ListModels(catalogue), catalogue),
                ),
            ],
            passthrough=door.behaviours(),
            checks={
                SERVICE: [control.server_ready],
                "weft.inference.v1.ModelService": [control.server_ready],
                "weft.inference.v1.GenerationService": [canaries[default]],
                **{model_health(model): [canary] for model, canary in canaries.items()},
            },
            accounts=ledger,
        )
