"""The parts of a Weft stack."""

from tools.stack import setup
from tools.stack.part import Declaration, Part
from tools.stack.start import start_qdrant_part, start_redis_part, start_service, start_triton_part

DECLARATION = Declaration(
    parts=(
        Part("gateway", 7700, start_service("gateway"), needs=("inference", "embedding", "rag"), health=("",)),
        Part(
            "rag",
            7701,
            start_service("rag"),
            needs=("redis", "qdrant", "embedding", "inference"),
            health=("", "weft.rag.v1.DocumentService", "weft.rag.v1.SearchService", "weft.rag.v1.AnswerService"),
        ),
        Part(
            "embedding",
            7702,
            start_service("embedding"),
            needs=("inference",),
            health=("", "weft.embedding.v1.EmbeddingService"),
        ),
        Part(
            "inference",
            7703,
            start_service("inference"),
            needs=("triton",),
            health=("", "weft.inference.v1.GenerationService", "inference.GRPCInferenceService"),
        ),
        Part("triton", 7710, start_triton_part, health=("",)),
        Part("redis", 7711, start_redis_part),
        Part("qdrant", 7712, start_qdrant_part),
    ),
    prepare=setup.prepare,
    first_use=setup.first_use,
    hints=setup.hints,
)
