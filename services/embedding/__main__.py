"""Runs the embedding service: `python -m services.embedding`."""

from __future__ import annotations

from libs.rpc.process import run
from services.embedding.settings import EmbeddingSettings
from services.embedding.wiring import embedding

if __name__ == "__main__":
    run("embedding", EmbeddingSettings, embedding)
