"""Writes the ONNX graph of a BERT sentence encoder (all-MiniLM-L6-v2) from its published weights, without torch.

    python build_graph.py WEIGHTS_DIR OUT_DIR

WEIGHTS_DIR holds `config.json`, `model.safetensors` and `tokenizer.json`. OUT_DIR gets `model.onnx`, `model.data` (the
weights, beside the graph so that they are mapped, not copied) and the tokenizer. Inputs of the graph: `input_ids` and
`attention_mask`, int64 [batch, length]. Output: `embedding`, float32 [batch, width], the mean over a text's tokens,
scaled to length 1. The architecture is that of Devlin et al. 2019, the pooling that of sentence-transformers.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save
from safetensors.numpy import load_file

OPSET = 20
MASKED = -10_000.0  # added to the scores of padding: e to this power is 0 in float32

Array = NDArray[Any]


class EncoderGraph:
    """Collects the nodes and constants of one encoder; each method adds a piece and returns the name of its output."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Array]) -> None:
        self._weights = weights
        self._width = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> Any:
        """The whole model: from token ids and their mask to one unit vector a text."""
        mask = self._op("Cast", "attention_mask", to=TensorProto.FLOAT)
        ignore_padding = self._padding_bias(mask)
        hidden = self._embed()
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._linear(self._attention(hidden, ignore_padding, name), f"{name}.attention.output.dense")
            hidden = self._add_and_norm(attended, hidden, f"{name}.attention.output.LayerNorm")
            inner = self._op("Gelu", self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._add_and_norm(self._linear(inner, f"{name}.output.dense"), hidden, f"{name}.output.LayerNorm")
        self._pool(hidden, mask)
        inputs = [self._value(name, TensorProto.INT64, "length") for name in ("input_ids", "attention_mask")]
        outputs = [self._value("embedding", TensorProto.FLOAT, self._width)]
        graph = helper.make_graph(self._nodes, "sentence-encoder", inputs, outputs, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)

    def _embed(self) -> str:
        """Word, position and segment embeddings; all text is segment 0, so that one is folded into the positions."""
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self._constant(self._weights["embeddings.position_embeddings.weight"] + segment)
        length = self._op("Slice", self._op("Shape", "input_ids"), self._ints(1), self._ints(2))
        words = self._op("Gather", self._constant(self._weights["embeddings.word_embeddings.weight"]), "input_ids")
        placed = self._op("Add", words, self._op("Slice", positions, self._ints(0), length, self._ints(0)))
        return self._norm(placed, "embeddings.LayerNorm")

    def _padding_bias(self, mask: str) -> str:
        """[batch, 1, 1, length]: 0 for tokens, a large negative number for padding."""
        padding = self._op("Sub", self._scalar(1.0), self._op("Unsqueeze", mask, self._ints(1, 2)))
        return self._op("Mul", padding, self._scalar(MASKED))

    def _attention(self, hidden: str, ignore_padding: str, layer: str) -> str:
        """Self-attention of all heads; query, key and value come from one product, the scale folded into the query."""
        size = self._width // self._heads
        scale = {"query": size**-0.5, "key": 1.0, "value": 1.0}
        parts = [(f"{layer}.attention.self.{part}", factor) for part, factor in scale.items()]
        weight = np.concatenate([self._weights[f"{name}.weight"].T * factor for name, factor in parts], axis=1)
        bias = np.concatenate([self._weights[f"{name}.bias"] * factor for name, factor in parts])
        joined = self._op("Add", self._op("MatMul", hidden, self._constant(weight)), self._constant(bias))
        split = self._op("Reshape", joined, self._ints(0, 0, 3, self._heads, size))
        by_head = self._op("Transpose", split, perm=[2, 0, 3, 1, 4])  # [3, batch, heads, length, size]
        query, key, value = (self._op("Gather", by_head, self._index(part), axis=0) for part in range(3))
        scores = self._op("MatMul", query, self._op("Transpose", key, perm=[0, 1, 3, 2]))
        attention = self._op("Softmax", self._op("Add", scores, ignore_padding), axis=-1)
        context = self._op("Transpose", self._op("MatMul", attention, value), perm=[0, 2, 1, 3])
        return self._op("Reshape", context, self._ints(0, 0, self._width))

    def _pool(self, hidden: str, mask: str) -> None:
        """Mean over the tokens that are not padding, scaled to length 1."""
        kept = self._op("Mul", hidden, self._op("Unsqueeze", mask, self._ints(-1)))
        total = self._op("ReduceSum", kept, self._ints(1), keepdims=0)
        count = self._op("ReduceSum", mask, self._ints(1), keepdims=1)
        mean = self._op("Div", total, count)
        self._op("LpNormalization", mean, out="embedding", axis=-1, p=2)

    def _add_and_norm(self, left: str, right: str, name: str) -> str:
        return self._norm(self._op("Add", left, right), name)

    def _norm(self, value: str, name: str) -> str:
        gain, bias = (self._constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._op("LayerNormalization", value, gain, bias, axis=-1, epsilon=self._epsilon)

    def _linear(self, value: str, name: str) -> str:
        product = self._op("MatMul", value, self._constant(self._weights[f"{name}.weight"].T))
        return self._op("Add", product, self._constant(self._weights[f"{name}.bias"]))

    def _op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out or name], name, **attributes))
        return out or name

    def _constant(self, array: Array) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def _scalar(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _index(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _ints(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    @staticmethod
    def _value(name: str, kind: int, size: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, ["batch", size])


def write(weights_dir: Path, out_dir: Path) -> None:
    """Writes the graph, its weights and the tokenizer into `out_dir`, which exists."""
    config = json.loads((weights_dir / "config.json").read_text())
    model = EncoderGraph(config, load_file(weights_dir / "model.safetensors")).build()
    save(model, out_dir / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=1024)
    shutil.copyfile(weights_dir / "tokenizer.json", out_dir / "tokenizer.json")


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 2:
        sys.exit(__doc__)
    write(Path(arguments[0]), Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
