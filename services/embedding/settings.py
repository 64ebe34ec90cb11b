"""What the embedding service is told when it starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from libs.config.settings import Address, ServiceSettings, settings_config

PREFIX = "WEFT_EMBEDDING_"


class EmbeddingSettings(ServiceSettings):
    """`WEFT_EMBEDDING_...`."""

    model_config = settings_config(PREFIX)

    inference_address: Address = Field(description="address of the inference service, host:port")
    tokenizer_file: Path = Field(description="tokenizer.json of the embedding model")
    model: str = Field("embed", min_length=1, max_length=100, description="the model of requests that name none")
    batch_tokens: int = Field(
        2048, ge=64, le=1_000_000, description="most tokens of one call to the model, its texts padded to the longest"
    )
    concurrency: int = Field(4, ge=1, le=64, description="calls to the model that one request makes at a time")
