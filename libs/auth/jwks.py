"""Public keys from a JWKS file (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MIN_RSA_BITS = 2048
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


class JwksError(ValueError):
    """The file has no keys that can be used; the message names it and says why."""


@dataclass(frozen=True)
class PublicKey:
    """A key and the one algorithm that it verifies: a token's own word for its algorithm must be the same."""

    algorithm: str
    public_key: Any


Jwks = Mapping[str, PublicKey]
"""Keys by their `kid`."""


def read_jwks(path: Path) -> Jwks:
    """The keys in `path`. Raises JwksError, also for a file in which one key of several is bad."""
    try:
        entries = json.loads(path.read_text())["keys"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JwksError(f"{path} is not a JWKS file: {error!r}") from None
    if not isinstance(entries, list) or not entries:
        raise JwksError(f"{path} has no keys")
    try:
        return {str(entry["kid"]): _public_key(entry) for entry in entries}
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        raise JwksError(f"{path} has a key that cannot be used: {error!r}") from None


def _public_key(entry: Mapping[str, Any]) -> PublicKey:
    kind = (entry["kty"], None if entry["kty"] == "RSA" else entry.get("crv"))
    algorithm = _ALGORITHMS.get(kind)
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        raise ValueError(f"a key of type {kind}; RSA (RS256), P-256 (ES256) and Ed25519 (EdDSA) are taken")
    if "d" in entry:
        raise ValueError("a private key; only public ones belong here")
    key = jwt.PyJWK(dict(entry), algorithm=algorithm).key
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"an RSA key of {key.key_size} bits; at least {MIN_RSA_BITS} are needed")
    return PublicKey(algorithm, key)
