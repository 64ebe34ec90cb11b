"""What the gateway is told when it starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from libs.config.settings import Address, ServiceSettings, settings_config

PREFIX = "WEFT_GATEWAY_"


class Upstreams(BaseModel):
    """Where the services behind the gateway listen; the names are those that contracts say in `served_by`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rag: Address = Field(description="address of the rag service, host:port")
    embedding: Address = Field(description="address of the embedding service, host:port")
    inference: Address = Field(description="address of the inference service, host:port")


class GatewaySettings(ServiceSettings):
    """`WEFT_GATEWAY_...`."""

    model_config = settings_config(PREFIX)

    upstreams: Upstreams = Field(description="addresses of the services behind the gateway")
    jwks_file: Path = Field(description="JSON Web Key Set (RFC 7517) with the public keys that tokens are signed for")
    issuer: str = Field("weft-local", min_length=1, description="the `iss` that tokens must have")
    audience: str = Field("weft", min_length=1, description="the `aud` that tokens must have")
