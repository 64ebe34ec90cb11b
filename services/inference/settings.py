"""What the inference service is told when it starts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from libs.config.settings import Address, ServiceSettings, settings_config


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
