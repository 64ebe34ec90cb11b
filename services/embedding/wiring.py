"""Builds the embedding service from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from libs.config.settings import SettingsError
from libs.rpc.channel import channel
from libs.rpc.executions import executing
from libs.rpc.server import Component
from services.embedding.adapters.inference import InferenceModels
from services.embedding.adapters.tokenizer import TokenizerCounter, TokenizerError
from services.embedding.app.embed_texts import EmbedTexts
from services.embedding.rpc.embedding import EmbeddingServicer
from services.embedding.settings import PREFIX, EmbeddingSettings
from weft.embedding.v1 import embedding_service_pb2_grpc

MAX_MESSAGE_BYTES = 6 << 20
"""All the characters that a request may have, at four bytes each, and room for the rest."""


@asynccontextmanager
async def embedding(settings: EmbeddingSettings) -> AsyncIterator[Component]:
    """The embedding service, with its channel to inference open. Raises SettingsError."""
    counter = _counter(settings)
    async with channel(settings.inference_address) as inference:
        models = InferenceModels(inference)
        embed = EmbedTexts(
            models,
            counter,
            executing,
            default_model=settings.model,
            batch_tokens=settings.batch_tokens,
            concurrency=settings.concurrency,
        )
        yield Component(
            servicers=[
                (embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, EmbeddingServicer(embed)),
            ],
            checks={"weft.embedding.v1.EmbeddingService": [partial(models.check, settings.model)]},
            max_message_bytes=MAX_MESSAGE_BYTES,
        )


def _counter(settings: EmbeddingSettings) -> TokenizerCounter:
    try:
        return TokenizerCounter(settings.tokenizer_file)
    except TokenizerError as error:
        raise SettingsError([f"{PREFIX}TOKENIZER_FILE={error}"]) from None
