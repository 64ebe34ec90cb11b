"""What the inference service is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from libs.config.settings import Address, ServiceSettings, settings_config


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if not all(sign and model.strip() and other.strip() for model, sign, other in pairs):
        raise ValueError("must be MODEL=OTHER, with commas between them")
    return {model.strip(): other.strip() for model, _, other in pairs}


def _no_loops(fallbacks: Mapping[str, str]) -> Mapping[str, str]:
    for model, other in fallbacks.items():
        if model == other:
            raise ValueError(f"{model} cannot stand in for itself")
    return fallbacks


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


class InferenceSettings(ServiceSettings):
    """`WEFT_INFERENCE_...`."""

    model_config = settings_config("WEFT_INFERENCE_")

    triton_address: Address = Field(description="address of Triton's gRPC listener, host:port")
    default_generate_model: str = Field(
        "generate", min_length=1, max_length=100, description="the model of generation requests that name none"
    )
    watched_models: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        ("embed",), description="models beside the default one whose health is told, with commas between them"
    )
    slots: int = Field(8, ge=1, le=1024, description="executions of one model at a time")
    queue: int = Field(256, ge=1, le=10_000, description="calls that wait for one model at most")
    fallbacks: Annotated[Mapping[str, str], NoDecode, BeforeValidator(_pairs), AfterValidator(_no_loops)] = Field(
        default_factory=dict,
        description="which model stands in for one that does not answer, as generate=generate-small, commas between",
    )
