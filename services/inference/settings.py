"""What the inference service is told when it starts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from libs.config.settings import Address, ServiceSettings, settings_config


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [tuple(name.strip() for name in pair.split("=")) for pair in value.split(",") if pair.strip()]
    if not all(len(pair) == 2 and all(pair) and pair[0] != pair[1] for pair in pairs):
        raise ValueError("must be MODEL=VALUE, with commas between them")
    return tuple(pairs)


def _bounded(slots: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if not all(1 <= count <= 1024 for _, count in slots):
        raise ValueError("a model has 1 to 1024 slots")
    return slots


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
    model_slots: Annotated[tuple[tuple[str, int], ...], NoDecode, BeforeValidator(_pairs), AfterValidator(_bounded)] = (
        Field((), description="of models that have other slots, generate=2, with commas between them")
    )
    queue: int = Field(1000, ge=1, le=10_000, description="calls that wait for one model at most")
    fallbacks: Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_pairs)] = Field(
        (),
        description="which model stands in for one that does not answer, generate=generate-small, with commas between "
        "them",
    )
