"""Tokens are believed only with a known key, its algorithm, and claims that hold."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from libs.auth.jwks import JwksError
from libs.auth.key_sources import FileKeys
from libs.auth.tests.signing import GOOD, KEYS, NOW_S, jwk, pem, refusal, spoil, token, write
from libs.auth.tokens import LEEWAY_S, Principal, sign_token
from libs.auth.verifier import Issuer, TokenVerifier
from libs.errors.errors import Reason


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    """All keys, each under its algorithm's name."""
    path = tmp_path / "jwks.json"
    write(path, *(jwk(algorithm, key, algorithm) for algorithm, key in KEYS.items()))
    return path


@pytest.fixture
def verifier(jwks_file: Path) -> TokenVerifier:
    return TokenVerifier([Issuer("weft-local", "weft", FileKeys(jwks_file))])


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_signed_token_is_verified(verifier: TokenVerifier, algorithm: str) -> None:
    """sign_token and verify agree, for each algorithm."""
    text = sign_token(
        pem(KEYS[algorithm]),
        algorithm,
        subject="alice",
        tenant="acme",
        scopes=["rag.read", "rag.write"],
        ttl_s=60,
        issuer="weft-local",
        audience="weft",
        now_s=NOW_S,
    )
    assert await verifier.verify(text, NOW_S) == Principal(
        "alice", "acme", frozenset({"rag.read", "rag.write"}), NOW_S + 60
    )


async def test_a_token_without_scopes_is_good(verifier: TokenVerifier) -> None:
    """The scope claim may be empty: any valid token may call a method that needs none."""
    assert (await verifier.verify(token(scope=""), NOW_S)).scopes == frozenset()


def _unsigned(header: dict[str, Any]) -> str:
    parts = [json.dumps(part).encode() for part in (header, GOOD)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def _confused() -> str:
    """HS256, with the public key's PEM as the secret."""
    secret = KEYS["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = _unsigned({"alg": "HS256", "typ": "JWT", "kid": "RS256"})[:-1]
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b.c",
        "ä.ö.ü",
        "x" * 10_000,
        _unsigned({"alg": "none", "kid": "EdDSA"}),
        _unsigned({"alg": "None", "kid": "EdDSA"}),
        _unsigned({"alg": ["EdDSA"], "kid": "EdDSA"}),
        _confused(),
        token()[:-4],
    ],
)
async def test_a_malformed_token_is_told_so(verifier: TokenVerifier, text: str) -> None:
    """What is no JWT, is too long, or has another algorithm (none, HS256 with the public key) is never believed."""
    error = await refusal(verifier, text)
    assert error.reason in (Reason.TOKEN_MALFORMED, Reason.TOKEN_REFUSED)
    assert text not in error.message or not text


async def test_algorithms_that_are_not_ours_are_malformed(verifier: TokenVerifier) -> None:
    """alg=none and HS256 are TOKEN_MALFORMED, as the contract says."""
    for text in (_unsigned({"alg": "none", "kid": "EdDSA"}), _confused()):
        assert (await refusal(verifier, text)).reason is Reason.TOKEN_MALFORMED


async def test_a_key_verifies_its_own_algorithm_only(verifier: TokenVerifier) -> None:
    """A token that names another key's id is refused."""
    assert (await refusal(verifier, token("ES256", kid="RS256"))).reason is Reason.TOKEN_REFUSED


async def test_an_unknown_key_is_refused(verifier: TokenVerifier) -> None:
    """A kid that the file does not have is TOKEN_REFUSED, as is a signature of another key under a known kid."""
    assert (await refusal(verifier, token(kid="other"))).reason is Reason.TOKEN_REFUSED
    stranger = jwt.encode(GOOD, ed25519.Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": "EdDSA"})
    assert (await refusal(verifier, stranger)).reason is Reason.TOKEN_REFUSED


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ({"iss": "other"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "ü" * 200}, "sub"),
        ({"sub": "a\ud800"}, "sub"),
        ({"tenant": None}, "tenant"),
        ({"tenant": "a/b"}, "tenant"),
        ({"tenant": ".."}, "tenant"),
        ({"tenant": "a" * 64}, "tenant"),
        ({"tenant": "acme\n"}, "tenant"),
        ({"tenant": ["acme"]}, "tenant"),
        ({"scope": None}, "scope"),
        ({"scope": ["rag.read", 1]}, "scope"),
        ({"scope": ["rag.read rag.write"]}, "scope"),
        ({"scope": ["", ""]}, "scope"),
        ({"scope": {"rag.read": True}}, "scope"),
        ({"scope": " ".join(["a"] * 101)}, "scope"),
        ({"exp": None}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        ({"nbf": -1}, "nbf"),
    ],
)
async def test_claims_must_hold(verifier: TokenVerifier, claims: dict[str, Any], named: str) -> None:
    """A missing, wrong or out-of-bounds claim is TOKEN_REFUSED, and the message names it."""
    error = await refusal(verifier, token(**claims))
    assert error.reason is Reason.TOKEN_REFUSED
    assert named in error.message


@pytest.mark.parametrize("value", ["soon", True])
async def test_times_are_numbers(verifier: TokenVerifier, value: object) -> None:
    """An exp that is no number is refused, whatever PyJWT thinks of it."""
    assert (await refusal(verifier, token(exp=value))).reason in (Reason.TOKEN_MALFORMED, Reason.TOKEN_REFUSED)


async def test_an_expired_token_says_since_when(verifier: TokenVerifier) -> None:
    """After exp and the leeway a token is TOKEN_EXPIRED with expire_time; within the leeway it is good."""
    text = token(exp=int(NOW_S) + 60)
    assert await verifier.verify(text, NOW_S + 60 + LEEWAY_S)
    error = await refusal(verifier, text, NOW_S + 60 + LEEWAY_S + 1)
    assert (error.reason, error.metadata) == (Reason.TOKEN_EXPIRED, {"expire_time": "2030-03-17T17:47:40Z"})
    fresh = token(exp=int(NOW_S) - 60)
    assert (await refusal(verifier, fresh)).reason is Reason.TOKEN_EXPIRED


async def test_changed_keys_are_seen(verifier: TokenVerifier, jwks_file: Path) -> None:
    """When the file changes, tokens of a key that is gone are refused, verified ones too; a new key is known."""
    assert await verifier.verify(token("EdDSA"), NOW_S)
    write(jwks_file, jwk("ES256", KEYS["ES256"], "new"))
    assert (await refusal(verifier, token("EdDSA"))).reason is Reason.TOKEN_REFUSED
    assert await verifier.verify(token("ES256", kid="new"), NOW_S)


async def test_a_spoilt_file_changes_nothing(verifier: TokenVerifier, jwks_file: Path) -> None:
    """Keys stay as they were when the file cannot be read, or is gone."""
    spoil(jwks_file)
    assert await verifier.verify(token(), NOW_S)
    os.unlink(jwks_file)
    assert await verifier.verify(token(), NOW_S)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]}',
        '{"keys": [{"kty": "RSA", "kid": "a"}]}',
        json.dumps({"keys": [jwk("RS256", rsa.generate_private_key(65537, 1024), "weak")]}),
        json.dumps({"keys": [{**jwk("EdDSA", KEYS["EdDSA"], "a"), "d": "private"}]}),
    ],
)
def test_a_bad_jwks_file_stops_the_start(tmp_path: Path, content: str) -> None:
    """No keys, a symmetric, broken, weak or private one: JwksError names the file."""
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(JwksError, match=str(path)):
        FileKeys(path)


@pytest.mark.parametrize("wrong", [{"tenant": "a/b"}, {"subject": ""}, {"scopes": ["a b", '"']}, {"ttl_s": 0}])
def test_only_good_tokens_are_signed(wrong: dict[str, Any]) -> None:
    """sign_token refuses what verify would refuse."""
    good: dict[str, Any] = {"subject": "alice", "tenant": "acme", "scopes": [], "ttl_s": 60}
    with pytest.raises(ValueError):
        sign_token(pem(KEYS["EdDSA"]), "k", **{**good, **wrong}, issuer="weft-local", audience="weft", now_s=NOW_S)
