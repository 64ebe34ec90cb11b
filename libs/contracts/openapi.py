"""The OpenAPI description of everything that can be called by REST, as it is committed."""

from __future__ import annotations

from importlib import resources


def openapi_json() -> bytes:
    """The description, read now. Written by `python -m tools.protos`."""
    return resources.files("libs.contracts").joinpath("openapi.json").read_bytes()
