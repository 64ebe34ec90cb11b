"""Calls through a gateway under test."""

from __future__ import annotations

from typing import Any

from services.gateway.tests.world import Gateway
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.embedding.v1.embedding_service_pb2 import EmbedRequest
from weft.inference.v1 import generation_service_pb2 as generation_pb

EMBED = "/weft.embedding.v1.EmbeddingService/Embed"
STREAM = "/weft.inference.v1.GenerationService/StreamGenerate"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"


def embed(gateway: Gateway, text: str, *more: tuple[str, str | bytes], **options: Any) -> Any:
    body = EmbedRequest(texts=[text]).SerializeToString()
    return gateway.channel.unary_unary(EMBED)(body, metadata=(*gateway.bearer(), *more), **options)


def generate(gateway: Gateway, order: str, **options: Any) -> Any:
    message = ChatMessage(role=CHAT_ROLE_USER, content=order)
    body = generation_pb.StreamGenerateRequest(prompt=generation_pb.Prompt(messages=[message])).SerializeToString()
    return gateway.channel.unary_stream(STREAM)(body, metadata=gateway.bearer(), **options)
