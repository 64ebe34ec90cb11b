"""weft.embedding.v1.EmbeddingService."""

from __future__ import annotations

from libs.rpc.call import depends
from libs.rpc.running import Context
from services.embedding.app.embed_texts import EmbedTexts
from services.embedding.domain.embeddings import Embedded, Embedding
from weft.common.v1 import usage_pb2
from weft.embedding.v1 import embedding_service_pb2 as pb
from weft.embedding.v1 import embedding_service_pb2_grpc

_VALUES_TAG = bytes((pb.Embedding.VALUES_FIELD_NUMBER << 3 | 2,))


class EmbeddingServicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Texts to vectors."""

    def __init__(self, embed: EmbedTexts) -> None:
        self._embed = embed

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """All or nothing."""
        embedded = await self._embed(request.texts, request.model)
        if stamps := stamps_of(embedded):
            depends(stamps)
        return response_of(embedded)


def stamps_of(embedded: Embedded) -> dict[str, str]:
    """What the answer depends on: the model in the version that was asked, as the inference server numbers it; nothing
    where that is not known."""
    model = embedded.model
    return {f"model/{model.name}": model.served_version} if model.served_version else {}


def response_of(embedded: Embedded) -> pb.EmbedResponse:
    """The message of all embeddings."""
    response = pb.EmbedResponse(
        model=embedded.model.description,
        model_version=embedded.model.version,
        usage=usage_pb2.Usage(input_tokens=embedded.input_tokens),
    )
    for embedding in embedded.embeddings:
        _fill(response.embeddings.add(), embedding)
    return response


def _fill(message: pb.Embedding, embedding: Embedding) -> None:
    """Float32, little-endian, is how the wire has a packed field: merged as bytes, a vector costs an eighth of what its
    numbers do one by one."""
    message.token_count = embedding.token_count
    message.truncated = embedding.truncated
    message.MergeFromString(_VALUES_TAG + _varint(len(embedding.values)) + embedding.values)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
