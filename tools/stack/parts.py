"""The parts of a Weft stack."""

from tools.stack import setup
from tools.stack.part import Declaration, Part
from tools.stack.start import (
    start_issuer_part,
    start_qdrant_part,
    start_redis_part,
    start_service,
    start_triton_part,
)

_RAG = ("weft.rag.v1.DocumentService", "weft.rag.v1.SearchService", "weft.rag.v1.AnswerService")
_EMBEDDING = ("weft.embedding.v1.EmbeddingService",)
_INFERENCE = ("weft.inference.v1.GenerationService", "inference.GRPCInferenceService")

DECLARATION = Declaration(
    parts=(
        Part(
            "gateway",
            7700,
            start_service("gateway"),
            needs=("redis", "inference", "embedding", "rag"),
            # It may still have to reach a service that is back: only then does a call go through.
            health=("", *_RAG, *_EMBEDDING, *_INFERENCE),
        ),
        Part(
            "rag",
            7701,
            start_service("rag"),
            needs=("redis", "qdrant", "embedding", "inference"),
            health=("", *_RAG),
        ),
        Part("embedding", 7702, start_service("embedding"), needs=("redis", "inference"), health=("", *_EMBEDDING)),
        Part("inference", 7703, start_service("inference"), needs=("redis", "triton"), health=("", *_INFERENCE)),
        Part("issuer", 7704, start_issuer_part),
        Part("triton", 7710, start_triton_part, health=("",)),
        Part("redis", 7711, start_redis_part),
        Part("qdrant", 7712, start_qdrant_part),
    ),
    prepare=setup.prepare,
    first_use=setup.first_use,
    hints=setup.hints,
)
