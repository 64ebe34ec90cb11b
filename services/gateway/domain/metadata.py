"""What a caller may say in the metadata of a call, read strictly: a header that cannot be meant is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from libs.contracts import headers
from libs.contracts.headers import MAX_TOKENS_LIMIT, PRIORITIES
from libs.errors.errors import InvalidArgumentError, Reason, UnauthenticatedError

Metadata = Mapping[str, str | bytes]
"""Names in lower case, as gRPC delivers them; texts of a name that came twice are one, a comma between."""


_BEARER = re.compile(r"[Bb]earer +(\S+)")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_TOKEN_COUNT = re.compile(r"[0-9]{1,7}")
_DIRECTIVE = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}|\"[^\"\\]{0,64}\"))?"
_CACHE_CONTROL = re.compile(rf"{_DIRECTIVE}(?:[ \t]*,[ \t]*{_DIRECTIVE}){{0,15}}")
_ONE_DIRECTIVE = re.compile(_DIRECTIVE)
_AGES = frozenset({"max-age", "max-stale", "min-fresh"})
_AGE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What a caller says of kept answers (RFC 9111, section 5.2.1).

    `takes_kept`: an answer that was kept will do. `may_keep`: this call's answer may be kept. `max_age_s`: how old one
    may be at most; None: it did not say.
    """

    takes_kept: bool = True
    may_keep: bool = True
    max_age_s: int | None = None


ANYTHING_KEPT = CacheControl()
"""Of a caller that says nothing of it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller asks for in the headers of one call. None: it did not say."""

    request_id: str | None = None
    priority: str | None = None
    max_tokens: int | None = None
    cache: CacheControl = ANYTHING_KEPT


_NO_WISHES = Wishes()
_WISHED = frozenset({headers.REQUEST_ID, headers.PRIORITY, headers.MAX_TOKENS, headers.CACHE_CONTROL})


def bearer_token(metadata: Metadata) -> str:
    """The token in the `authorization` header. Raises UnauthenticatedError TOKEN_MISSING or TOKEN_MALFORMED."""
    sent = metadata.get(headers.AUTHORIZATION)
    if sent is None:
        raise UnauthenticatedError(Reason.TOKEN_MISSING, "send the header `authorization: Bearer <token>`")
    if not (isinstance(sent, str) and (match := _BEARER.fullmatch(sent))):
        raise UnauthenticatedError(Reason.TOKEN_MALFORMED, "authorization: want `Bearer <token>`")
    return match[1]


def wishes(metadata: Metadata) -> Wishes:
    """Reads what a caller may ask for; all other headers are not looked at.

    Raises InvalidArgumentError HEADER_INVALID, which names the header and what would be right.
    """
    if _WISHED.isdisjoint(metadata):
        return _NO_WISHES
    request_id = _text(metadata, headers.REQUEST_ID)
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        raise _invalid(headers.REQUEST_ID, "want 1 to 128 printable ASCII characters without spaces")
    priority = _text(metadata, headers.PRIORITY)
    if priority is not None and priority not in PRIORITIES:
        raise _invalid(headers.PRIORITY, f"want one of {', '.join(PRIORITIES)}")
    max_tokens = _token_count(_text(metadata, headers.MAX_TOKENS))
    return Wishes(request_id, priority, max_tokens, _cache_control(_text(metadata, headers.CACHE_CONTROL)))


def _text(metadata: Metadata, header: str) -> str | None:
    value = metadata.get(header)
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _token_count(text: str | None) -> int | None:
    if text is None:
        return None
    count = int(text) if _TOKEN_COUNT.fullmatch(text) else 0
    if not 1 <= count <= MAX_TOKENS_LIMIT:
        raise _invalid(headers.MAX_TOKENS, f"want a whole number from 1 to {MAX_TOKENS_LIMIT}")
    return count


def _cache_control(text: str | None) -> CacheControl:
    """What a list of directives means; those that mean nothing here are well-formed, at least.

    An age that is asked for twice is the lower one. Who takes nothing older than 0 seconds takes nothing kept.
    """
    if text is None:
        return ANYTHING_KEPT
    if not _CACHE_CONTROL.fullmatch(text):
        raise _invalid(headers.CACHE_CONTROL, "want directives as in RFC 9111, such as `no-cache` or `max-age=60`")
    named: set[str] = set()
    max_age_s: int | None = None
    for directive in _ONE_DIRECTIVE.findall(text):
        name, _, argument = directive.partition("=")
        name = name.lower()
        named.add(name)
        endless = name == "max-stale" and not argument
        if name in _AGES and not endless and not _AGE.fullmatch(argument):
            raise _invalid(headers.CACHE_CONTROL, f"{name} wants whole seconds, such as `{name}=60`")
        if name == "max-age":
            max_age_s = int(argument) if max_age_s is None else min(max_age_s, int(argument))
    takes_kept = named.isdisjoint({"no-cache", "no-store"}) and max_age_s != 0
    return CacheControl(takes_kept, "no-store" not in named, max_age_s)


def _invalid(header: str, description: str) -> InvalidArgumentError:
    return InvalidArgumentError(Reason.HEADER_INVALID, f"{header}: {description}", metadata={"header": header})
