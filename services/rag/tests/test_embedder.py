"""What the embedding service's failures mean for who asks rag."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.errors.errors import (
    InvalidArgumentError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
)
from libs.rpc.server import Component
from libs.testing.serving import calling, serving
from services.rag.adapters.embedder import EmbeddingServiceEmbedder
from services.rag.tests.neighbours import Embedding
from weft.embedding.v1 import embedding_service_pb2_grpc

FAILURES: dict[Reason, tuple[Callable[[Reason, str], ServiceError], Reason]] = {
    Reason.MODEL_NOT_FOUND: (NotFoundError, Reason.DEPENDENCY_UNAVAILABLE),
    Reason.OVERLOADED: (ResourceExhaustedError, Reason.DEPENDENCY_UNAVAILABLE),
    Reason.MODEL_UNAVAILABLE: (UnavailableError, Reason.MODEL_UNAVAILABLE),
    Reason.FIELD_INVALID: (InvalidArgumentError, Reason.FIELD_INVALID),
}


@pytest.mark.parametrize("reason", FAILURES)
async def test_a_missing_model_and_a_full_service_are_away(reason: Reason) -> None:
    """They come as DEPENDENCY_UNAVAILABLE, with which a search goes on by words; others keep their reason."""
    embedding = Embedding()
    make, told = FAILURES[reason]
    embedding.failure = make(reason, "no")
    component = Component([(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, embedding)])
    async with serving(component) as served, calling(served) as channel:
        with pytest.raises(ServiceError) as caught:
            await EmbeddingServiceEmbedder(channel).embed(["text"])
    assert caught.value.reason is told
    assert isinstance(caught.value, UnavailableError) == (reason is not Reason.FIELD_INVALID)
