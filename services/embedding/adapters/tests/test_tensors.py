"""Tensors of the Open Inference Protocol."""

from array import array
from typing import Any

import pytest

from services.embedding.adapters.tensors import TensorError, embeddings_of, pb, request_of
from services.embedding.domain.embeddings import Embedding, EmbedModel

MODEL = EmbedModel("embed", "3", "all-MiniLM", "fp32-1", max_tokens=16, batch_texts=4)


def response(**tensors: bytes) -> Any:
    """A ModelInferResponse with these outputs."""
    message = pb.ModelInferResponse()
    for name, raw in tensors.items():
        message.outputs.add(name=name)
        message.raw_output_contents.append(raw)
    return message


def test_a_request_asks_for_the_version_it_knows() -> None:
    """One row a text, each with its length in bytes before it."""
    request = request_of(MODEL, ["ab", "é"])
    assert (request.model_name, request.model_version) == ("embed", "3")
    assert list(request.inputs[0].shape) == [2, 1]
    assert request.raw_input_contents[0] == b"\x02\0\0\0ab\x02\0\0\0\xc3\xa9"


def test_outputs_are_found_by_name() -> None:
    """In whatever order they come, each text gets its row."""
    vectors = array("f", [1, 2, 3, 4]).tobytes()
    message = response(TRUNCATED=b"\0\1", TOKEN_COUNT=array("i", [7, 8]).tobytes(), EMBEDDING=vectors)
    assert embeddings_of(message, 2) == [Embedding(vectors[:8], 7, False), Embedding(vectors[8:], 8, True)]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"EMBEDDING": b"\0" * 8, "TOKEN_COUNT": b"\0" * 8},
        {"EMBEDDING": b"\0" * 8, "TOKEN_COUNT": b"\0" * 4, "TRUNCATED": b"\0\0"},
        {"EMBEDDING": b"\0" * 6, "TOKEN_COUNT": b"\0" * 8, "TRUNCATED": b"\0\0"},
        {"EMBEDDING": b"", "TOKEN_COUNT": b"\0" * 8, "TRUNCATED": b"\0\0"},
    ],
)
def test_an_answer_of_another_shape(tensors: dict[str, bytes]) -> None:
    """Rows that are missing or cut are an error, never a vector of somebody else."""
    with pytest.raises(TensorError):
        embeddings_of(response(**tensors), 2)
