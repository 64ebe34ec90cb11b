"""Callers' tokens: JWTs signed with RS256, ES256 or EdDSA, keys from a JWKS file."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from libs.auth.jwks import Jwks, read_jwks
from libs.errors.errors import Reason, UnauthenticatedError

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY_S = 5.0
"""How far clocks may differ: `exp` and `nbf` are taken with so much patience."""

_MAX_TOKEN_BYTES = 8192
_MAX_REMEMBERED = 4096
_MAX_TIME_S = 253_402_300_799  # the end of the year 9999, the last that RFC 3339 can write
_TENANT = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*")
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_SCOPES = re.compile(r"(?:[!#-\[\]-~]{1,100}(?: [!#-\[\]-~]{1,100}){0,99})?")
_CLAIMS_OPTIONS: Any = {"require": ["exp", "iss", "aud", "sub"]} | dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat"), False
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token speaks for. `expire_time_s` is Unix time."""

    subject: str
    tenant: str
    scopes: frozenset[str]
    expire_time_s: float


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
    _principal(claims)
    algorithm = _algorithm_of(private_key_pem)
    return jwt.encode(claims, private_key_pem, algorithm=algorithm, headers={"kid": kid})


class TokenVerifier:
    """Tells whose a token is. Reads `jwks_file` again when it changes; a spoilt file changes nothing, and is logged.

    A verified token is remembered by its hash (4,096 of them, the least used go) until it expires or the keys change.
    """

    def __init__(self, jwks_file: Path, issuer: str, audience: str) -> None:
        """Raises JwksError where the file has no keys that can be used."""
        self._jwks_file = jwks_file
        self._issuer = issuer
        self._audience = audience
        self._stamp = _stamp(jwks_file)
        self._jwks: Jwks = read_jwks(jwks_file)
        self._remembered: OrderedDict[bytes, Principal] = OrderedDict()

    def verify(self, token: str, now_s: float) -> Principal:
        """Raises UnauthenticatedError: TOKEN_MALFORMED, TOKEN_REFUSED or TOKEN_EXPIRED. `now_s` is Unix time."""
        self._reload()
        name = hashlib.sha256(token.encode(errors="replace")).digest()
        principal = self._remembered.get(name)
        if principal is None:
            principal = self._verify(token, now_s)
            self._remembered[name] = principal
            if len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(name)
        if now_s > principal.expire_time_s + LEEWAY_S:
            del self._remembered[name]
            raise _expired(principal.expire_time_s)
        return principal

    def _verify(self, token: str, now_s: float) -> Principal:
        algorithm, kid = _header(token)
        key = self._jwks.get(kid)
        if key is None or key.algorithm != algorithm:
            raise _refused("it is not signed with a key that is known here")
        try:
            claims = jwt.decode(
                token,
                key.public_key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=_CLAIMS_OPTIONS,
            )
        except jwt.InvalidSignatureError:
            raise _refused("its signature is not that of its key") from None
        except jwt.InvalidIssuerError:
            raise _refused(f"its issuer is not {self._issuer}") from None
        except jwt.InvalidAudienceError:
            raise _refused(f"its audience is not {self._audience}") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"the claim {error.claim} is missing") from None
        except jwt.PyJWTError:
            raise _malformed("it cannot be read as a signed JWT") from None
        try:
            principal = _principal(claims)
            begins_s = _time(claims, "nbf") if "nbf" in claims else 0.0
        except ValueError as error:
            raise _refused(str(error)) from None
        if now_s < begins_s - LEEWAY_S:
            raise _refused("it is not valid yet")
        return principal

    def _reload(self) -> None:
        stamp = _stamp(self._jwks_file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._jwks = read_jwks(self._jwks_file)
        except ValueError as error:
            _log.error("keys are as before: %s", error)
            return
        self._remembered.clear()


def _header(token: str) -> tuple[str, str]:
    """Algorithm and key id of a token, which are not to be believed yet."""
    if len(token) > _MAX_TOKEN_BYTES:
        raise _malformed(f"it is longer than {_MAX_TOKEN_BYTES} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise _malformed("it cannot be read as a signed JWT") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _malformed(f"its algorithm is not one of {', '.join(ALGORITHMS)}")
    if not isinstance(kid, str):
        raise _refused("it names no key (`kid`)")
    return str(algorithm), kid


def _principal(claims: Mapping[str, Any]) -> Principal:
    """The principal of good claims. Raises ValueError naming the claim that is not."""
    subject, tenant, scope = claims.get("sub"), claims.get("tenant"), claims.get("scope")
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise ValueError(
            "the claim tenant must be 1 to 63 letters and digits, single dots, hyphens and underscores between"
        )
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or len(subject.encode()) > 255:
        raise ValueError("the claim sub must be 1 to 200 printable characters, in at most 255 bytes")
    if not isinstance(scope, str) or not _SCOPES.fullmatch(scope):
        raise ValueError("the claim scope must be at most 100 scopes of at most 100 characters, a space between")
    return Principal(subject, tenant, frozenset(scope.split()), _time(claims, "exp"))


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME_S:
        raise ValueError(f"the claim {name} must be a Unix time in seconds")
    return float(value)


def _algorithm_of(private_key_pem: bytes) -> str:
    key = load_pem_private_key(private_key_pem, password=None)
    for kind, algorithm in ((RSAPrivateKey, "RS256"), (EllipticCurvePrivateKey, "ES256"), (Ed25519PrivateKey, "EdDSA")):
        if isinstance(key, kind):
            return algorithm
    raise ValueError("the signing key must be RSA, EC (P-256) or Ed25519")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes when the file does, also when another is renamed over it; zeros when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _malformed(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(Reason.TOKEN_MALFORMED, f"the token cannot be used: {why}")


def _refused(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(Reason.TOKEN_REFUSED, f"the token is refused: {why}")


def _expired(expire_time_s: float) -> UnauthenticatedError:
    expire_time = datetime.fromtimestamp(expire_time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return UnauthenticatedError(
        Reason.TOKEN_EXPIRED,
        f"the token was good until {expire_time}; get a new one",
        metadata={"expire_time": expire_time},
    )
