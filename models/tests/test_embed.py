"""The embed model as Triton serves it."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from libs.parts.processes import RunningPart

WORDS = "river stone quickly paint under seven green engine Über the of a 日本 naïve re-entrant x_1 ...".split()  # noqa: SIM905


@dataclass(frozen=True)
class Embedded:
    vectors: NDArray[np.float32]
    token_counts: list[int]
    truncated: list[bool]


@pytest.fixture(scope="module")
def client(triton_server: RunningPart) -> Any:
    with tritonclient.grpc.InferenceServerClient(triton_server.address) as client:
        yield client


def embed(client: Any, texts: Sequence[str | bytes]) -> Embedded:
    rows = np.array([[text.encode() if isinstance(text, str) else text] for text in texts], np.object_)
    tensor = tritonclient.grpc.InferInput("TEXT", list(rows.shape), "BYTES")
    tensor.set_data_from_numpy(rows)
    result = client.infer("embed", [tensor], client_timeout=60)
    counts, truncated = (result.as_numpy(name)[:, 0].tolist() for name in ("TOKEN_COUNT", "TRUNCATED"))
    return Embedded(result.as_numpy("EMBEDDING"), counts, truncated)


def test_vectors_have_length_one(client: Any) -> None:
    """Every text, the empty one and bytes that are no text included, has a vector of 384 floats of length 1."""
    vectors = embed(client, ["A cat.", "", " ", b"\xff\xfe", "x" * 10_000, "\x00"]).vectors
    assert vectors.shape == (6, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_published_model_is_served(client: Any) -> None:
    """The similarities that the model's card publishes for its three example sentences, to its four decimals."""
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = embed(client, sentences).vectors
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=1e-3)


def test_meaning_is_near_meaning(client: Any) -> None:
    """A question is nearer to its answer in other words than to a sentence that shares words with it."""
    question, answer, decoy = embed(
        client,
        [
            "How can I get my money back?",
            "Refunds are paid within two weeks of a cancelled order.",
            "My back hurts when I carry the money box.",
        ],
    ).vectors
    assert question @ answer > question @ decoy


def test_a_vector_does_not_depend_on_the_batch(client: Any) -> None:
    """Alone, in any batch, in any place: the same vector up to rounding."""
    draw = random.Random(7)
    texts = [" ".join(draw.choices(WORDS, k=draw.choice([1, 3, 9, 30, 90, 400]))) for _ in range(48)]
    alone = np.concatenate([embed(client, [text]).vectors for text in texts])
    order = draw.sample(range(48), 48)
    together = embed(client, [texts[place] for place in order]).vectors
    difference = np.abs(together - alone[order]).max()
    print(f"largest difference {difference:.1e}")
    assert difference < 2e-6


def test_long_texts_are_cut_and_said_to_be(client: Any) -> None:
    """Up to 256 tokens with [CLS] and [SEP] a text is read whole; of a longer one the rest changes nothing."""
    whole, cut, longer, empty = "word " * 254, "word " * 255, "word " * 254 + "something else " * 500, ""
    embedded = embed(client, [whole, cut, longer, empty])
    assert embedded.token_counts == [256, 256, 256, 2]
    assert embedded.truncated == [False, True, True, False]
    np.testing.assert_allclose(embedded.vectors[2], embedded.vectors[0], atol=2e-6)


def test_requests_that_are_joined_get_their_own_rows(client: Any) -> None:
    """Triton batches what arrives together; each caller gets the vectors of its own texts in its own order."""
    texts = [f"text number {number} about {WORDS[number % len(WORDS)]}" for number in range(40)]
    expected = embed(client, texts).vectors
    parts = [texts[start : start + 4] for start in range(0, 40, 4)]
    with ThreadPoolExecutor(len(parts)) as threads:
        answers = list(threads.map(lambda part: embed(client, part).vectors, parts))
    np.testing.assert_allclose(np.concatenate(answers), expected, atol=2e-6)
    assert np.abs(expected - expected[0]).max(axis=1)[1:].min() > 1e-3


def test_too_large_a_batch_is_refused(client: Any) -> None:
    """Triton itself refuses more texts than the configuration's bound."""
    with pytest.raises(InferenceServerException, match="must be <= 64"):
        embed(client, ["text"] * 65)


def test_the_configuration_names_the_model(client: Any) -> None:
    """Triton tells name and version of what makes the vectors, so that nobody mixes vectors of two models."""
    parameters = client.get_model_config("embed").config.parameters
    assert parameters["model_name"].string_value == "all-MiniLM-L6-v2"
    assert parameters["model_version"].string_value == "fp32-1"
