"""The embed model as Triton's python backend loads it: tensors in, tensors out; `encoder/` does the work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from encoder.encoder import Encoder

WARM_UP = ("short", "a text that is somewhat longer than the other one " * 8)


class TritonPythonModel:
    """See config.pbtxt for the tensors."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        limits = {name: int(parameters[name]) for name in ("max_tokens", "run_tokens", "threads")}
        self._encoder = Encoder(folder, **limits)
        self._encoder.encode(WARM_UP)  # the first call must not pay for what is set up lazily

    def execute(self, requests: list[Any]) -> list[Any]:
        texts_by_request = [_texts(request) for request in requests]
        encoded = self._encoder.encode([text for texts in texts_by_request for text in texts])
        responses = []
        start = 0
        for texts in texts_by_request:
            rows = slice(start, start + len(texts))
            start = rows.stop
            tensors = [
                pb_utils.Tensor("EMBEDDING", encoded.embeddings[rows]),
                pb_utils.Tensor("TOKEN_COUNT", encoded.token_counts[rows, np.newaxis]),
                pb_utils.Tensor("TRUNCATED", encoded.truncated[rows, np.newaxis]),
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses

    def finalize(self) -> None:
        self._encoder.close()


def _texts(request: Any) -> list[str]:
    """Bytes that are not UTF-8 become the replacement character: an encoder has no better use for them."""
    rows = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
    return [row.decode("utf-8", "replace") for row in rows]
