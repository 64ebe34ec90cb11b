"""Public keys from a JSON Web Key Set (RFC 7517): of a file, or as a provider publishes them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MIN_RSA_BITS = 2048
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}

_log = logging.getLogger(__name__)


class JwksError(ValueError):
    """There are no keys that can be used; the message names the source and says why."""


@dataclass(frozen=True)
class PublicKey:
    """A key and the one algorithm that it verifies: a token's own word for its algorithm must be the same.

    Two of the same material are equal; `fingerprint` is the digest of it.
    """

    algorithm: str
    fingerprint: bytes
    public_key: Any = field(compare=False, repr=False)


Jwks = Mapping[str, PublicKey]
"""Keys by their `kid`."""


def read_jwks(path: Path) -> Jwks:
    """The keys in a file of ours. Raises JwksError, also where one key of several is bad or two have one `kid`."""
    try:
        entries = _entries(path.read_bytes())
        keys = {str(entry["kid"]): _public_key(entry) for entry in entries}
    except OSError as error:
        raise JwksError(f"{path} is not a JWKS file: {error!r}") from None
    except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
        raise JwksError(f"{path} is not a JWKS file that can be used: {error!r}") from None
    if len(keys) < len(entries):
        raise JwksError(f"{path} has two keys with the same kid: {', '.join(sorted(_twice(entries)))}")
    return MappingProxyType(keys)


def published_jwks(content: bytes, source: str) -> Jwks:
    """The keys of a provider that can be used. Raises JwksError where there is none.

    A provider publishes what others need too: a key of another kind or use, or without a `kid`, is left out. So are all
    keys of a `kid` that is there twice: which one a token means cannot be told.
    """
    try:
        entries = _entries(content)
        twice = _twice(entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JwksError(f"{source} is not a JWKS: {error!r}") from None
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        kid = entry.get("kid")
        if not isinstance(kid, str) or entry.get("use", "sig") != "sig":
            continue
        if kid in twice:
            _log.error("%s has two keys with the kid %r: neither is taken", source, kid)
            continue
        try:
            keys[kid] = _public_key(entry)
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s: the key %r is not taken: %r", source, kid, error)
    if not keys:
        raise JwksError(f"{source} has no key that can be used")
    return MappingProxyType(keys)


def _entries(content: bytes) -> list[dict[str, Any]]:
    entries = json.loads(content)["keys"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("`keys` is not a list of keys, or is empty")
    return entries


def _twice(entries: list[dict[str, Any]]) -> set[str]:
    counts = Counter(str(entry["kid"]) for entry in entries if "kid" in entry)
    return {kid for kid, count in counts.items() if count > 1}


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
    material = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, hashlib.sha256(material).digest(), key)
