"""Texts and vectors as tensors of the Open Inference Protocol."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from libs.contracts.open_inference import open_inference_pb2
from services.embedding.domain.embeddings import Embedding, EmbedModel

pb: Any = open_inference_pb2()

_OUTPUTS = ("EMBEDDING", "TOKEN_COUNT", "TRUNCATED")
_FLOAT_BYTES = 4


class TensorError(ValueError):
    """A model's answer is not what its contract says."""


def request_of(model: EmbedModel, texts: Sequence[str]) -> Any:
    """The ModelInferRequest: one row a text, each with its length before it."""
    request = pb.ModelInferRequest(model_name=model.name, model_version=model.served_version)
    request.inputs.add(name="TEXT", datatype="BYTES", shape=(len(texts), 1))
    for name in _OUTPUTS:
        request.outputs.add(name=name)
    rows = (text.encode() for text in texts)
    request.raw_input_contents.append(b"".join(len(row).to_bytes(4, "little") + row for row in rows))
    return request


def embeddings_of(response: Any, count: int) -> list[Embedding]:
    """The rows of a ModelInferResponse. Raises TensorError where it has not one for each of `count` texts."""
    raw = {output.name: data for output, data in zip(response.outputs, response.raw_output_contents, strict=True)}
    missing = [name for name in _OUTPUTS if name not in raw]
    if missing:
        raise TensorError(f"the model's answer lacks {', '.join(missing)}")
    vectors, truncated = raw["EMBEDDING"], raw["TRUNCATED"]
    token_counts = array("i", raw["TOKEN_COUNT"])
    width, rest = divmod(len(vectors), count)
    if rest or not width or width % _FLOAT_BYTES or len(token_counts) != count or len(truncated) != count:
        raise TensorError(f"the model's answer has not {count} rows")
    return [
        Embedding(vectors[row * width : (row + 1) * width], token_counts[row], bool(truncated[row]))
        for row in range(count)
    ]
