"""From where keys may come."""

from __future__ import annotations

import pytest

from libs.auth.key_sources import check_url


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com/keys",
        "https://id.example.com:8443",
        "http://127.0.0.1:7704/jwks.json",
        "http://[::1]:1",
        "http://localhost/a",
    ],
)
def test_keys_come_over_tls_or_from_this_machine(url: str) -> None:
    """Such a URL is taken as it is."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "weft-local",
        "id.example.com/keys",
        "http://id.example.com/keys",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
        "https://user:password@id.example.com/",
        "https:///keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "http://[::1",
    ],
)
def test_keys_come_from_nowhere_else(url: str) -> None:
    """Plain HTTP of another machine, another scheme, and what is no URL are a ValueError."""
    with pytest.raises(ValueError):
        check_url(url)
