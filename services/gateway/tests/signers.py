"""Who signs the tokens of tests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://issuer.test"
AUDIENCE = "weft-test"
SCOPES = ("embedding.embed", "inference.generate", "inference.infer", "inference.read", "rag.read", "rag.write")


@dataclass(frozen=True)
class Signer:
    """One key pair that tokens are signed with."""

    kid: str
    algorithm: str
    private: Any

    def jwk(self) -> dict[str, Any]:
        kind: Any = jwt.get_algorithm_by_name(self.algorithm)
        return {
            **kind.to_jwk(self.private.public_key(), as_dict=True),
            "kid": self.kid,
            "alg": self.algorithm,
            "use": "sig",
        }

    def token(self, **claims: Any) -> str:
        now_s = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "kim", "tenant": "acme", "scope": " ".join(SCOPES)}
        payload = {**usual, "iat": now_s, "exp": now_s + 300, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.private, self.algorithm, {"kid": self.kid})


SIGNERS = {
    "EdDSA": Signer("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate()),
    "ES256": Signer("es", "ES256", ec.generate_private_key(ec.SECP256R1())),
    "RS256": Signer("rs", "RS256", rsa.generate_private_key(65537, 2048)),
}
