"""Builds the embedding service from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from libs.config.settings import SettingsError
from libs.ledger.ledger import RedisLedger
from libs.rpc.channel import channel
from libs.rpc.executions import executing
from libs.rpc.server import Component
from libs.store.redis import connect
from services.embedding.adapters.inference import InferenceModels
from services.embedding.adapters.tokenizer import TokenizerCounter, TokenizerError
from services.embedding.app.embed_texts import EmbedTexts
from services.embedding.rpc.embedding import EmbeddingServicer
from services.embedding.settings import PREFIX, EmbeddingSettings
from weft.embedding.v1 import embedding_service_pb2_grpc

MAX_MESSAGE_BYTES = 6 << 20
"""All the characters that a request may have, at four bytes each, and room for the rest."""

_LEDGER_CLOSES_WITHIN_S = 5
"""What the ledger was told and has not written is tried for so long after the last call."""


@asynccontextmanager
async def embedding(settings: EmbeddingSettings) -> AsyncIterator[Component]:
    """The embedding service, with its channel to inference and its ledger open. Raises SettingsError."""
    counter = _counter(settings)
    async with AsyncExitStack() as stack:
        ledger = RedisLedger(await stack.enter_async_context(connect(settings.redis_url.get_secret_value())))
        stack.push_async_callback(ledger.aclose, _LEDGER_CLOSES_WITHIN_S)
        inference = await stack.enter_async_context(channel(settings.inference_address))
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
            accounts=ledger,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )


def _counter(settings: EmbeddingSettings) -> TokenizerCounter:
    try:
        return TokenizerCounter(settings.tokenizer_file)
    except TokenizerError as error:
        raise SettingsError([f"{PREFIX}TOKENIZER_FILE={error}"]) from None
