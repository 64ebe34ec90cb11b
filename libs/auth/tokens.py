"""Callers' tokens: what a JWT must say, and how one is signed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from libs.errors.errors import Reason, UnauthenticatedError

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY_S = 5.0
"""How far clocks may differ: `exp` and `nbf` are taken with so much patience."""

TENANT_CLAIM = "tenant"
SCOPE_CLAIM = "scope"
KEY_SUBJECT = "key:"
"""How the subject of an API key begins: "key:" and its id. No token may have such a one."""

_MAX_TIME_S = 253_402_300_799  # the end of the year 9999, the last that RFC 3339 can write
_TENANT = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*")
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_SCOPES = re.compile(r"(?:[!#-\[\]-~]{1,100}(?: [!#-\[\]-~]{1,100}){0,99})?")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a credential speaks for.

    `subject` is what usage is told by: a token's `sub`, or "key:" and an API key's id. `expire_time_s` is Unix time,
    math.inf where it does not end by itself. `plan`: whose limits hold for it beside its tenant's; empty: the tenant's.
    """

    subject: str
    tenant: str
    scopes: frozenset[str]
    expire_time_s: float
    plan: str = ""


def sign_token(
    private_key_pem: bytes,
    kid: str,
    *,
    subject: str,
    tenant: str,
    scopes: Iterable[str],
    ttl_s: float,
    issuer: str,
    audience: str,
    now_s: float,
) -> str:
    """A token that is good from `now_s` (Unix time) for `ttl_s`. Raises ValueError for what no verifier would take.

    Claims: iss, sub, aud, iat, exp (RFC 7519), scope (space separated, RFC 8693), tenant.
    """
    claims = {
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "iat": int(now_s),
        "exp": int(now_s + ttl_s),
        "tenant": tenant,
        "scope": " ".join(scopes),
    }
    if ttl_s <= 0:
        raise ValueError("ttl: must be above 0 seconds")
    principal_of(claims)
    algorithm = _algorithm_of(private_key_pem)
    return jwt.encode(claims, private_key_pem, algorithm=algorithm, headers={"kid": kid})


def principal_of(
    claims: Mapping[str, Any], tenant_claim: str = TENANT_CLAIM, scope_claim: str = SCOPE_CLAIM
) -> Principal:
    """The principal of good claims. Raises ValueError naming the claim that is not."""
    subject, tenant = claims.get("sub"), claims.get(tenant_claim)
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise ValueError(
            f"the claim {tenant_claim} must be 1 to 63 letters and digits, "
            "single dots, hyphens and underscores between, for it says whose data the caller sees"
        )
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or len(subject.encode()) > 255:
        raise ValueError("the claim sub must be 1 to 200 printable characters, in at most 255 bytes")
    if subject.startswith(KEY_SUBJECT):
        raise ValueError(f"the claim sub must not begin with {KEY_SUBJECT!r}, which stands for API keys")
    return Principal(subject, tenant, _scopes(claims, scope_claim), time_of(claims, "exp"))


def _scopes(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Of a claim as RFC 8693 has it, or a list, which is what some providers make of it."""
    value = claims.get(name)
    if isinstance(value, list) and all(isinstance(scope, str) and " " not in scope for scope in value):
        value = " ".join(value)
    if not isinstance(value, str) or not _SCOPES.fullmatch(value):
        raise ValueError(f"the claim {name} must be at most 100 scopes of at most 100 characters, a space between")
    return frozenset(value.split())


def is_tenant(name: str) -> bool:
    """Whether a tenant can have this name."""
    return _TENANT.fullmatch(name) is not None


def time_of(claims: Mapping[str, Any], name: str) -> float:
    """A claim that is a Unix time. Raises ValueError naming it."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME_S:
        raise ValueError(f"the claim {name} must be a Unix time in seconds")
    return float(value)


def malformed(why: str, what: str = "token") -> UnauthenticatedError:
    """The error of a token, or of what else is sent in its place, that cannot be read."""
    return UnauthenticatedError(Reason.TOKEN_MALFORMED, f"the {what} cannot be used: {why}")


def refused(why: str, what: str = "token") -> UnauthenticatedError:
    """The error of one that is not believed."""
    return UnauthenticatedError(Reason.TOKEN_REFUSED, f"the {what} is refused: {why}")


def expired(expire_time_s: float, what: str = "token") -> UnauthenticatedError:
    """The error of one that was good until then."""
    expire_time = datetime.fromtimestamp(expire_time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return UnauthenticatedError(
        Reason.TOKEN_EXPIRED,
        f"the {what} was good until {expire_time}; get a new one",
        metadata={"expire_time": expire_time},
    )


def _algorithm_of(private_key_pem: bytes) -> str:
    key = load_pem_private_key(private_key_pem, password=None)
    for kind, algorithm in ((RSAPrivateKey, "RS256"), (EllipticCurvePrivateKey, "ES256"), (Ed25519PrivateKey, "EdDSA")):
        if isinstance(key, kind):
            return algorithm
    raise ValueError("the signing key must be RSA, EC (P-256) or Ed25519")
