"""API keys: their text, what is stored of them, and what they are made from."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from libs.errors.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Reason,
    ResourceExhaustedError,
    UnauthenticatedError,
)

PREFIX = "weft_"
MAX_LIVE = 1000
"""Most keys of a tenant that are neither revoked nor expired."""

MAX_LISTED = 10_000
"""Most keys of a tenant, with those that ended within the last 30 days."""

LISTED_S = 30 * 24 * 3600
"""For so long a key that has ended is listed."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 16
_SECRET_LENGTH = 43  # 62 ** 43 > 2 ** 256
_TEXT = re.compile(rf"{PREFIX}([!-~]{{1,63}})_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})")
_PURPOSE = b"weft api key"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Times are Unix seconds; 0: never."""

    key_id: str
    tenant: str
    description: str
    scopes: tuple[str, ...]
    plan: str
    create_time_s: float
    expire_time_s: float = 0.0
    revoke_time_s: float = 0.0
    last_use_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Presented:
    """A key as a caller sends it, not yet believed. `digest` is what is stored of the whole text."""

    tenant: str
    key_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key that is made: its id, the text that its owner sends, and the digest that is stored of it."""

    key_id: str
    text: str
    digest: bytes


def presented(text: str) -> Presented:
    """Reads "weft_TENANT_ID_SECRET"; only the tenant can have a "_". Raises UnauthenticatedError TOKEN_MALFORMED."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UnauthenticatedError(
            Reason.TOKEN_MALFORMED, "the API key cannot be used: it is not one as it was shown, weft_TENANT_ID_SECRET"
        )
    return Presented(match[1], match[2], _digest(text))


def derived_key(context_key: bytes, tenant: str, request_id: str, nonce: bytes) -> KeyText:
    """The key that a request makes, and makes again: `nonce` is all that is stored of how it came to be.

    Id and secret are HMAC-SHA256 under the installation's key, so that who reads the store learns no secret.
    """
    seed = b"\x00".join((tenant.encode(), request_id.lower().encode(), nonce))
    key = hmac.digest(context_key, _PURPOSE, "sha256")
    key_id = _base62(hmac.digest(key, b"id\x00" + seed, "sha256"))[-_ID_LENGTH:]
    secret = _base62(hmac.digest(key, b"secret\x00" + seed, "sha256"))
    text = f"{PREFIX}{tenant}_{key_id}_{secret}"
    return KeyText(key_id, text, _digest(text))


def scope_missing(scope: str, method: str) -> PermissionDeniedError:
    """A caller can give a key only what it has itself."""
    return PermissionDeniedError(
        Reason.SCOPE_MISSING,
        f"a key can have only scopes that its maker has, and {scope} is not one",
        metadata={"scope": scope, "method": method},
    )


def plan_unknown(plan: str) -> InvalidArgumentError:
    """The settings have no such plan."""
    return InvalidArgumentError(
        Reason.PLAN_UNKNOWN, f"plan: the settings have no plan {plan!r}", metadata={"plan": plan}
    )


def key_not_found(key_id: str) -> NotFoundError:
    """The tenant has no such key."""
    return NotFoundError(Reason.KEY_NOT_FOUND, f"there is no API key {key_id}", metadata={"key_id": key_id})


def request_id_reused(request_id: str) -> InvalidArgumentError:
    """The id stood for another request, or another caller's."""
    return InvalidArgumentError(
        Reason.REQUEST_ID_REUSED,
        "request_id: it was used for another request in the last 24 hours; send a fresh UUID",
        metadata={"request_id": request_id},
    )


def too_many(limit: int) -> ResourceExhaustedError:
    """The tenant has as many keys as it may."""
    which = "keys in force; revoke one" if limit == MAX_LIVE else "keys, with those that ended within 30 days; wait"
    return ResourceExhaustedError(
        Reason.QUOTA_EXCEEDED, f"the tenant has {limit:,} {which}", metadata={"limit": str(limit)}
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _base62(data: bytes) -> str:
    """Of 32 bytes, 43 characters."""
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(_SECRET_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
