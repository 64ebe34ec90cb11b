"""Texts to vectors with onnxruntime."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .batches import runs


@dataclass(frozen=True)
class Encoded:
    """One row a text, in the order given: unit vectors, tokens read, and whether the text's end was cut off."""

    embeddings: NDArray[np.float32]
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]


class Encoder:
    """A sentence encoder in float32. Whatever else is in the batch, a text's vector is the same to about 1e-7."""

    def __init__(self, folder: Path, *, max_tokens: int, run_tokens: int, threads: int) -> None:
        """`folder` holds `model.onnx` and `tokenizer.json`; `threads` runs of the graph go on at a time."""
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()  # the file says: pad to 128, cut at 128
        self._tokenizer.enable_truncation(max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._width = int(self._session.get_outputs()[0].shape[1])
        self._run_tokens = run_tokens
        self._pool = ThreadPoolExecutor(threads, "encode")

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Any number of texts of any length, the empty one included (it is read as [CLS] [SEP])."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        ids = [encoding.ids for encoding in encodings]
        embeddings = np.empty((len(ids), self._width), np.float32)

        def run(positions: list[int]) -> None:
            embeddings[positions] = self._run([ids[position] for position in positions])

        list(self._pool.map(run, runs([len(row) for row in ids], self._run_tokens)))
        return Encoded(
            embeddings,
            np.array([len(row) for row in ids], np.int32),
            np.array([bool(encoding.overflowing) for encoding in encodings], np.bool_),
        )

    def close(self) -> None:
        self._pool.shutdown()

    def _run(self, rows: Sequence[Sequence[int]]) -> Any:
        length = max(map(len, rows))
        ids = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
