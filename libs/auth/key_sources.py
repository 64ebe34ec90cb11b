"""Where an issuer's keys are."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from libs.auth.jwks import Jwks, read_jwks
from libs.config.files import file_stamp

_log = logging.getLogger(__name__)


class KeySource(Protocol):
    """The keys of one issuer, as they are in force."""

    def current(self) -> Jwks:
        """Asked at each call. Raises UnavailableError where the keys are not known, or not any more."""
        ...

    async def look_again(self) -> None:
        """A token names a key that is not among the current ones: returns when they are fresh enough to refuse it.

        Raises UnavailableError where that cannot be told now.
        """
        ...


class FileKeys:
    """The keys in a JWKS file, read again when it changes; a spoilt file changes nothing, and is logged."""

    def __init__(self, path: Path) -> None:
        """Raises JwksError where the file has no keys that can be used."""
        self._path = path
        self._stamp = file_stamp(path)
        self._jwks = read_jwks(path)

    def current(self) -> Jwks:
        """As the file is now: looking at it costs two microseconds."""
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._jwks = read_jwks(self._path)
            except ValueError as error:
                _log.error("keys are as before: %s", error)
        return self._jwks

    async def look_again(self) -> None:
        """They are fresh."""


def check_url(url: str) -> str:
    """`url`, if keys may come from there: over https, or http from this machine. Raises ValueError."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.password:
        raise ValueError(f"{url} is not a URL such as https://id.example.com/jwks.json")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError(f"{url}: want https, for whoever can change the keys on their way can sign tokens")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
