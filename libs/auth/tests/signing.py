"""Keys of every kind, and tokens signed with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from libs.auth.verifier import TokenVerifier
from libs.errors.errors import UnauthenticatedError

NOW_S = 1_900_000_000.0
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
GOOD = {"iss": "weft-local", "aud": "weft", "sub": "alice", "tenant": "acme", "scope": "rag.read", "exp": NOW_S + 60}


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def jwk(algorithm: str, key: Any, kid: str) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "RS256": jwt.algorithms.RSAAlgorithm,
        "ES256": jwt.algorithms.ECAlgorithm,
        "EdDSA": jwt.algorithms.OKPAlgorithm,
    }
    return {**kinds[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": kid}


def write(path: Path, *keys: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": keys}))
    os.replace(fresh, path)


def spoil(path: Path) -> None:
    path.write_text("{")


def token(algorithm: str = "EdDSA", kid: str | None = None, **claims: Any) -> str:
    merged = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode(merged, KEYS[algorithm], algorithm, headers={"kid": algorithm if kid is None else kid})


async def refusal(verifier: TokenVerifier, text: str, now_s: float = NOW_S) -> UnauthenticatedError:
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(text, now_s)
    return caught.value
