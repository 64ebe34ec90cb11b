"""Lists page by page: opaque tokens that are good for the list that gave them and for no other."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from libs.errors.errors import FieldViolation, InvalidArgumentError, Reason

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500

_DIGEST_BYTES = 8


def page_size_of(requested: int, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """0 is the default, more than the maximum is the maximum."""
    return min(requested or default, maximum)


def page_token(position: str, method: str, filters: Sequence[str] = ()) -> str:
    """A token for the page that begins after `position`, of the list that `method` gives with `filters`.

    Filters are all that a list depends on but the page: the tenant, names of the request. The token binds them; it is
    not secret and not signed, so what `position` says must be checked like any other input.
    """
    return base64.urlsafe_b64encode(_digest(method, filters) + position.encode()).decode().rstrip("=")


def page_position(token: str, method: str, filters: Sequence[str] = ()) -> str:
    """What `page_token` was given; "" for the first page. Raises InvalidArgumentError PAGE_TOKEN_INVALID otherwise."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        position = data[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise _refused() from None
    if not position or data[:_DIGEST_BYTES] != _digest(method, filters):
        raise _refused()
    return position


def _digest(method: str, filters: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    for part in (method, *filters):
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()[:_DIGEST_BYTES]


def _refused() -> InvalidArgumentError:
    what = "is not from this list with these filters; begin with an empty one"
    return InvalidArgumentError(
        Reason.PAGE_TOKEN_INVALID, f"page_token: {what}", violations=[FieldViolation("page_token", what)]
    )
