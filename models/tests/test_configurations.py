import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

MODELS = Path(__file__).resolve().parents[1]
of_every = pytest.mark.parametrize(
    "path", sorted(MODELS.rglob("config.pbtxt")), ids=lambda path: str(path.parent.relative_to(MODELS))
)


def read(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


@of_every
def test_every_configuration_is_valid(path: Path) -> None:
    """It parses as Triton's own message, is named like its folder, and says name and version of the model in it."""
    config = read(path)
    assert config.name == path.parent.name
    assert config.parameters["model_name"].string_value
    assert config.parameters["model_version"].string_value


@of_every
def test_batching_is_left_to_triton(path: Path) -> None:
    """A queue policy, priorities or a delay can stall Triton's batcher: no configuration has any."""
    assert read(path).dynamic_batching == model_config_pb2.ModelDynamicBatching()


@of_every
def test_triton_keeps_no_answers(path: Path) -> None:
    """Its response cache knows no tenants: no configuration turns it on."""
    assert not read(path).response_cache.enable


def test_the_window_of_the_language_model_is_said_once() -> None:
    """vLLM's `max_model_len` is what the configuration tells clients."""
    folder = MODELS / "gpu/generate"
    engine = json.loads((folder / "1/model.json").read_text())
    assert read(folder / "config.pbtxt").parameters["max_model_len"].string_value == str(engine["max_model_len"])
    assert engine["model"].endswith(read(folder / "config.pbtxt").parameters["model_name"].string_value)
