"""Tells whose a token is: JWTs signed with RS256, ES256 or EdDSA, of the issuers that are trusted."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from libs.auth.jwks import PublicKey
from libs.auth.key_sources import KeySource
from libs.auth.tokens import (
    ALGORITHMS,
    LEEWAY_S,
    SCOPE_CLAIM,
    TENANT_CLAIM,
    Principal,
    expired,
    malformed,
    principal_of,
    refused,
    time_of,
)

_MAX_TOKEN_BYTES = 8192
_MAX_REMEMBERED = 4096
_CLAIMS_OPTIONS: Any = {"require": ["exp", "iss", "aud", "sub"]} | dict.fromkeys(
    ("verify_exp", "verify_nbf", "verify_iat"), False
)
_UNBELIEVED: Any = {"verify_signature": False}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken: the `iss` and `aud` that they must have, and the keys that sign them.

    `tenant_claim` names the tenant, `scope_claim` what the caller may. `tenants`: those that the issuer may speak for;
    None: any.
    """

    name: str
    audience: str
    keys: KeySource
    tenant_claim: str = TENANT_CLAIM
    scope_claim: str = SCOPE_CLAIM
    tenants: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    keys: KeySource
    kid: str
    key: PublicKey


class TokenVerifier:
    """Believes the tokens of these issuers.

    A verified token is remembered by its hash (4,096 of them, the least used go) until it expires, and as long as its
    issuer's keys have the key that verified it.
    """

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        """Raises ValueError where two issuers have one name."""
        self._issuers = {issuer.name: issuer for issuer in issuers}
        if len(self._issuers) < len(issuers):
            raise ValueError("two issuers have the same name")
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, token: str, now_s: float) -> Principal:
        """Waits for nothing where the token is remembered. `now_s` is Unix time.

        Raises UnauthenticatedError: TOKEN_MALFORMED, TOKEN_REFUSED or TOKEN_EXPIRED; UnavailableError where the
        issuer's keys cannot be had.
        """
        name = hashlib.sha256(token.encode(errors="replace")).digest()
        verified = self._remembered.get(name)
        if verified is None or verified.keys.current().get(verified.kid) != verified.key:
            self._remembered.pop(name, None)
            verified = await self._verify(token, now_s)
            self._remembered[name] = verified
            if len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(name)
        if now_s > verified.principal.expire_time_s + LEEWAY_S:
            self._remembered.pop(name, None)
            raise expired(verified.principal.expire_time_s)
        return verified.principal

    async def _verify(self, token: str, now_s: float) -> _Verified:
        algorithm, kid = _header(token)
        issuer = self._issuer(token)
        key = issuer.keys.current().get(kid)
        if key is None:
            await issuer.keys.look_again()
            key = issuer.keys.current().get(kid)
        if key is None or key.algorithm != algorithm:
            raise refused("it is not signed with a key that is known here")
        claims = _claims(token, key, issuer)
        try:
            principal = principal_of(claims, issuer.tenant_claim, issuer.scope_claim)
            begins_s = time_of(claims, "nbf") if "nbf" in claims else 0.0
        except ValueError as error:
            raise refused(str(error)) from None
        if issuer.tenants is not None and principal.tenant not in issuer.tenants:
            raise refused(f"its issuer may not speak for the tenant in its claim {issuer.tenant_claim}")
        if now_s < begins_s - LEEWAY_S:
            raise refused("it is not valid yet")
        return _Verified(principal, issuer.keys, kid, key)

    def _issuer(self, token: str) -> Issuer:
        """The issuer that the token names. Only its own keys are asked, so that its word for it needs no belief."""
        try:
            name = jwt.decode(token, options=_UNBELIEVED).get("iss")
        except (jwt.PyJWTError, AttributeError):
            raise malformed("it cannot be read as a signed JWT") from None
        if name is None:
            raise refused("the claim iss is missing")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise refused(f"its issuer is not {' or '.join(self._issuers)}")
        return issuer


def _header(token: str) -> tuple[str, str]:
    """Algorithm and key id of a token, which are not to be believed yet."""
    if len(token) > _MAX_TOKEN_BYTES:
        raise malformed(f"it is longer than {_MAX_TOKEN_BYTES} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise malformed("it cannot be read as a signed JWT") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise malformed(f"its algorithm is not one of {', '.join(ALGORITHMS)}")
    if not isinstance(kid, str):
        raise refused("it names no key (`kid`)")
    return str(algorithm), kid


def _claims(token: str, key: PublicKey, issuer: Issuer) -> dict[str, Any]:
    """What a token says that its issuer signed for us."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public_key,
            algorithms=[key.algorithm],
            audience=issuer.audience,
            issuer=issuer.name,
            options=_CLAIMS_OPTIONS,
        )
    except jwt.InvalidSignatureError:
        raise refused("its signature is not that of its key") from None
    except jwt.InvalidAudienceError:
        raise refused(f"its audience is not {issuer.audience}") from None
    except jwt.MissingRequiredClaimError as error:
        raise refused(f"the claim {error.claim} is missing") from None
    except jwt.PyJWTError:
        raise malformed("it cannot be read as a signed JWT") from None
    return claims
