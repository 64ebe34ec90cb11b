"""What rag is told by its environment: `WEFT_RAG_...`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from libs.config.settings import Address, ServiceSettings, settings_config


class RagSettings(ServiceSettings):
    """Addresses of what rag works with, how it cuts documents, what it holds at most, and when it lets the model
    answer."""

    model_config = settings_config("WEFT_RAG_")

    qdrant_address: Address = Field(description="Qdrant's gRPC, host:port")
    qdrant_api_key: SecretStr | None = Field(None, description="Qdrant's key, if it asks for one")
    embedding_address: Address = Field(description="the embedding service, host:port")
    inference_address: Address = Field(description="the inference service, host:port")
    tokenizer_file: Path = Field(description="tokenizer.json of the embedding model")

    max_collections: int = Field(1000, ge=1, le=100_000, description="most collections of a tenant")
    max_documents: int = Field(100_000, ge=1, le=10_000_000, description="most documents of a collection")
    passage_tokens: int = Field(220, ge=20, le=2000, description="most tokens of a passage")
    parallel_ingests: int = Field(4, ge=1, le=64, description="documents that are ingested at a time")
    ingest_lease_s: float = Field(
        120,
        ge=1,
        le=3600,
        description="seconds without a sign of its writer after which an unfinished version is swept",
    )
    sweep_every_s: float = Field(5, gt=0, le=3600, description="seconds between two rounds of the sweeper")
    sweep_grace_s: float = Field(
        10, ge=0, le=3600, description="seconds that replaced and deleted passages stay stored"
    )
    embedding_timeout_s: float = Field(
        10, gt=0, le=300, description="seconds after which a search goes on without vectors"
    )
    model_window_tokens: int = Field(4096, ge=1024, le=1_000_000, description="most tokens of a prompt and its answer")

    answer_similarity: float = Field(
        0.42, ge=-1, le=1, description="similarity of the best passage from which on the model is asked"
    )
    answer_coverage: float = Field(
        0.57,
        ge=0,
        le=1,
        description="share of the question's words in a passage from which on the model is asked, without vectors",
    )
