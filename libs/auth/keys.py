"""The keys of an installation: the pair that signs and verifies tokens, and the key of the signed context."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from libs.auth.context import KEY_BYTES, ContextKeyError, read_context_key
from libs.config.files import write_whole


class KeyFileError(RuntimeError):
    """A key file cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Keys:
    """Where the keys are. `key_id` is the `kid` of the signing key in the JWKS: its thumbprint (RFC 7638)."""

    context_key_file: Path
    signing_key_file: Path
    jwks_file: Path
    key_id: str


def create_keys(folder: Path) -> Keys:
    """Makes the keys that are missing, in a folder that only its owner can enter. A spoilt one is a `KeyFileError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    signing, context, jwks = folder / "signing.pem", folder / "context.key", folder / "jwks.json"
    if not signing.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_whole(signing, pem)
    if not context.exists():
        write_whole(context, secrets.token_hex(KEY_BYTES) + "\n")
    _check_context_key(context)
    public = _public_jwk(_load(signing))
    content = json.dumps({"keys": [public]}, indent=2) + "\n"
    if not jwks.exists() or jwks.read_text() != content:
        write_whole(jwks, content)
    return Keys(context, signing, jwks, public["kid"])


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(
            f"{path} is not an Ed25519 private key in PEM: delete it, and a new one is made (tokens expire)"
        )
    return key


def _check_context_key(path: Path) -> None:
    try:
        read_context_key(path)
    except ContextKeyError as error:
        raise KeyFileError(f"{error}: delete it, and a new one is made") from None


def _public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """The thumbprint is over the required members alone, in lexicographic order, without white space."""
    point = _base64url(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    required = {"crv": "Ed25519", "kty": "OKP", "x": point}
    thumbprint = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return {**required, "kid": _base64url(thumbprint), "alg": "EdDSA", "use": "sig"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
