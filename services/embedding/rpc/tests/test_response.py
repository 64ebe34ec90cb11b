"""The message of embeddings."""

from array import array
from dataclasses import replace

from services.embedding.domain.embeddings import Embedded, Embedding, EmbedModel
from services.embedding.rpc.embedding import response_of, stamps_of
from weft.common.v1.usage_pb2 import Usage
from weft.embedding.v1 import embedding_service_pb2 as pb


def test_a_vector_is_the_same_as_number_by_number() -> None:
    """Vectors of any width arrive as they are, and serialize as if they had been set in the usual way."""
    model = EmbedModel("embed", "1", "all-MiniLM", "fp32-1", max_tokens=16, batch_texts=4)
    vectors = [[0.5, -1.25], [], [float(at) / 8 for at in range(5000)]]
    embeddings = [Embedding(array("f", vector).tobytes(), 3, True) for vector in vectors]
    expected = pb.EmbedResponse(
        embeddings=[pb.Embedding(values=vector, token_count=3, truncated=True) for vector in vectors],
        model="all-MiniLM",
        model_version="fp32-1",
        usage=Usage(input_tokens=9),
    )
    response = response_of(Embedded(embeddings, model))
    assert response == expected
    assert response.SerializeToString() == expected.SerializeToString()


def test_an_answer_depends_on_the_version_that_was_asked() -> None:
    """By the model's name and the inference server's number; on nothing where that has none."""
    model = EmbedModel("embed", "3", "all-MiniLM", "fp32-1", max_tokens=16, batch_texts=4)
    assert stamps_of(Embedded([], model)) == {"model/embed": "3"}
    assert stamps_of(Embedded([], replace(model, served_version=""))) == {}
