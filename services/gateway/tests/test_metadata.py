"""What callers may write in the metadata of a call."""

from __future__ import annotations

import pytest

from libs.contracts import headers
from libs.errors.errors import InvalidArgumentError, Reason, UnauthenticatedError
from services.gateway.domain.metadata import CacheControl, Wishes, bearer_token, wishes


def test_reads_every_header_that_means_something() -> None:
    """All that a caller may ask for is read, and nothing else is."""
    sent: dict[str, str | bytes] = {
        "user-agent": "x",
        headers.REQUEST_ID: "order-17",
        headers.PRIORITY: "low",
        headers.MAX_TOKENS: "256",
        headers.CACHE_CONTROL: 'no-cache, max-age=60, private="x y"',
        headers.CONTEXT: b"forged",
    }
    assert wishes(sent) == Wishes("order-17", "low", 256, CacheControl(takes_kept=False, max_age_s=60))


def test_a_caller_that_says_nothing_wishes_nothing() -> None:
    """Kept answers of any age will do, and this one may be kept."""
    assert wishes({"user-agent": "x"}) == Wishes(None, None, None, CacheControl(True, True, None))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (headers.REQUEST_ID, ""),
        (headers.REQUEST_ID, "a b"),
        (headers.REQUEST_ID, "a" * 129),
        (headers.REQUEST_ID, "a\tb"),
        (headers.REQUEST_ID, "bl\xe4tter"),
        (headers.PRIORITY, "urgent"),
        (headers.PRIORITY, "HIGH"),
        (headers.PRIORITY, ""),
        (headers.MAX_TOKENS, "0"),
        (headers.MAX_TOKENS, "-1"),
        (headers.MAX_TOKENS, "1e3"),
        (headers.MAX_TOKENS, "1000001"),
        (headers.MAX_TOKENS, "9" * 5000),
        (headers.MAX_TOKENS, "\u0661\u0662"),
        (headers.CACHE_CONTROL, ""),
        (headers.CACHE_CONTROL, "no cache"),
        (headers.CACHE_CONTROL, "no-cache,,no-store"),
        (headers.CACHE_CONTROL, "max-age"),
        (headers.CACHE_CONTROL, "no-cache, max-age=soon"),
        (headers.CACHE_CONTROL, "max-age=-1"),
        (headers.CACHE_CONTROL, ",".join(["no-cache"] * 17)),
    ],
)
def test_refuses_by_name(header: str, value: str) -> None:
    """A header that cannot be meant is refused, and the error names it."""
    with pytest.raises(InvalidArgumentError) as refused:
        wishes({header: value})
    assert (refused.value.reason, refused.value.metadata) == (Reason.HEADER_INVALID, {"header": header})


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("no-cache", CacheControl(takes_kept=False)),
        ("No-Cache", CacheControl(takes_kept=False)),
        ("no-store", CacheControl(takes_kept=False, may_keep=False)),
        ("no-store, max-age=9", CacheControl(takes_kept=False, may_keep=False, max_age_s=9)),
        ("max-age=60", CacheControl(max_age_s=60)),
        ("Max-Age=60 , max-age=7", CacheControl(max_age_s=7)),
        ("max-age=0", CacheControl(takes_kept=False, max_age_s=0)),
        ("max-stale", CacheControl()),
        ("max-stale=5,min-fresh=1", CacheControl()),
        ("only-if-cached , max-age=5", CacheControl(max_age_s=5)),
        ("x-own=no-store", CacheControl()),
        ('x-own="a,no-store,max-age=3"', CacheControl()),
        ('x-own="a b", no-cache', CacheControl(takes_kept=False)),
    ],
)
def test_reads_cache_directives(value: str, meant: CacheControl) -> None:
    """Every well-formed list of directives is taken; unknown ones mean nothing (RFC 9111, section 5.2.3)."""
    assert wishes({headers.CACHE_CONTROL: value}).cache == meant


@pytest.mark.parametrize("value", ["Bearer a.b.c", "bearer a.b.c", "Bearer  a.b.c"])
def test_reads_the_token(value: str) -> None:
    """The scheme's name may be written in lower case too (RFC 9110)."""
    assert bearer_token({headers.AUTHORIZATION: value}) == "a.b.c"


def test_a_call_without_a_token_is_told_how_to_send_one() -> None:
    """No authorization header is TOKEN_MISSING; the text names the header."""
    with pytest.raises(UnauthenticatedError, match="authorization: Bearer") as refused:
        bearer_token({"x": "y"})
    assert refused.value.reason is Reason.TOKEN_MISSING


@pytest.mark.parametrize("value", ["a.b.c", "Basic YTpi", "Bearer ", "Bearer a b", "", b"Bearer a.b.c"])
def test_what_is_not_a_bearer_token_is_malformed(value: str | bytes) -> None:
    """Another scheme, no token, or more than one is TOKEN_MALFORMED."""
    with pytest.raises(UnauthenticatedError) as refused:
        bearer_token({headers.AUTHORIZATION: value})
    assert refused.value.reason is Reason.TOKEN_MALFORMED
