"""Stamps: what kept answers depend on, as it is now. Who changes such a thing changes its stamp in the same step."""

from __future__ import annotations

from urllib.parse import quote

MODELS = "weft:stamps"
"""Hash: a model's stamp by "model/NAME": its version. Written by inference, whenever it learns of another."""


def tenant_stamps(tenant: str) -> str:
    """Hash of a tenant's stamps: "collection/NAME" has the collection's generation, and no field where there is no
    collection. Written by the scripts of rag's catalogue. The hash tag is that of the tenant's other keys."""
    return f"weft:stamps:{{{quote(tenant, safe='')}}}"
