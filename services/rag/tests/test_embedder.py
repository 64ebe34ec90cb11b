"""What the embedding service's failures mean for who asks rag."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.errors.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
)
from libs.testing.serving import calling, running_call, serving
from services.rag.adapters.embedder import EmbeddingServiceEmbedder
from services.rag.tests.neighbours import Embedding, embedding_component

FAILURES: dict[Reason, tuple[Callable[[Reason, str], ServiceError], Reason]] = {
    Reason.MODEL_NOT_FOUND: (NotFoundError, Reason.DEPENDENCY_UNAVAILABLE),
    Reason.OVERLOADED: (ResourceExhaustedError, Reason.DEPENDENCY_UNAVAILABLE),
    Reason.MODEL_UNAVAILABLE: (UnavailableError, Reason.MODEL_UNAVAILABLE),
    Reason.FIELD_INVALID: (InvalidArgumentError, Reason.FIELD_INVALID),
    Reason.BUDGET_EXHAUSTED: (ResourceExhaustedError, Reason.BUDGET_EXHAUSTED),
}


@pytest.mark.parametrize("reason", FAILURES)
async def test_a_missing_model_and_a_full_service_are_away(reason: Reason) -> None:
    """They come as DEPENDENCY_UNAVAILABLE, with which a search goes on by words; others keep their reason."""
    embedding = Embedding()
    make, told = FAILURES[reason]
    embedding.failure = make(reason, "no")
    async with serving(embedding_component(embedding)) as served, calling(served) as channel:
        with pytest.raises(ServiceError) as caught:
            await EmbeddingServiceEmbedder(channel).embed(["text"])
    assert caught.value.reason is told
    own = (Reason.FIELD_INVALID, Reason.BUDGET_EXHAUSTED)
    assert isinstance(caught.value, UnavailableError) == (reason not in own)


@pytest.mark.parametrize(("timeout_s", "told"), [(30.0, UnavailableError), (0.4, DeadlineExceededError)])
async def test_a_late_service_is_away_while_there_is_time(timeout_s: float, told: type[ServiceError]) -> None:
    """It was a deadline of something behind it that passed; at the end of the call's own time it is the call's."""
    embedding = Embedding()
    embedding.failure = DeadlineExceededError(Reason.DEADLINE_EXCEEDED, "late")
    async with (
        serving(embedding_component(embedding)) as served,
        calling(served) as channel,
        running_call(timeout_s=timeout_s),
    ):
        with pytest.raises(ServiceError) as caught:
            await EmbeddingServiceEmbedder(channel).embed(["text"])
    assert type(caught.value) is told
