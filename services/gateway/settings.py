"""What the gateway is told when it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import NoDecode

from libs.auth.key_sources import check_url
from libs.config.settings import Address, ServiceSettings, settings_config

PREFIX = "WEFT_GATEWAY_"


class Upstreams(BaseModel):
    """Where the services behind the gateway listen; the names are those that contracts say in `served_by`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rag: Address = Field(description="address of the rag service, host:port")
    embedding: Address = Field(description="address of the embedding service, host:port")
    inference: Address = Field(description="address of the inference service, host:port")


class IssuerSettings(BaseModel):
    """One issuer of tokens. Its keys are in `jwks_file`, at `jwks_url`, or where its discovery document says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, max_length=1000)
    audience: str = Field(min_length=1, max_length=1000)
    jwks_file: Path | None = None
    jwks_url: str = ""
    tenant_claim: str = Field("tenant", min_length=1, max_length=200)
    scope_claim: str = Field("scope", min_length=1, max_length=200)
    tenants: frozenset[str] | None = None

    @model_validator(mode="after")
    def _keys_are_somewhere(self) -> IssuerSettings:
        if self.jwks_file is not None and self.jwks_url:
            raise ValueError("its keys are in jwks_file or at jwks_url, not both")
        if self.jwks_file is None:
            check_url(self.jwks_url or self.issuer)
        return self


def _issuers(value: object) -> object:
    """From the JSON of the environment. Raises ValueError with the place of the first mistake."""
    try:
        entries = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(entries, list | tuple) or not entries:
        raise ValueError("must be a JSON list of at least one issuer")
    found = [_issuer(number, entry) for number, entry in enumerate(entries, start=1)]
    if len({issuer.issuer for issuer in found}) < len(found):
        raise ValueError("has an issuer twice")
    return tuple(found)


def _issuer(number: int, entry: object) -> IssuerSettings:
    try:
        return IssuerSettings.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"issuer {number}, {place}: {what[:1].lower()}{what[1:]}") from None


class GatewaySettings(ServiceSettings):
    """`WEFT_GATEWAY_...`."""

    model_config = settings_config(PREFIX)

    upstreams: Upstreams = Field(description="addresses of the services behind the gateway")
    plans_file: Path = Field(
        description="the settings file (YAML): plans, tenants and prices, as docs/settings.md has it"
    )
    issuers: Annotated[tuple[IssuerSettings, ...], NoDecode, BeforeValidator(_issuers)] = Field(
        description="whose tokens are believed: a JSON list of issuers, as docs/identity.md has it"
    )
    cache_ttl_s: float = Field(300, gt=0, le=86400, description="seconds for which an answer is kept and given again")
    max_open_calls: int = Field(1000, ge=1, le=100_000, description="most calls under way, of all tenants")
    max_body_bytes: int = Field(
        512 << 20, ge=64 << 20, description="most bytes of requests that are held for calls under way"
    )
