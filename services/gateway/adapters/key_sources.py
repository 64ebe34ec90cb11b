"""Issuers' keys from where they publish them: a JWKS URL (RFC 7517), or what OpenID Connect Discovery names."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from libs.auth.jwks import Jwks, published_jwks
from libs.auth.key_sources import check_url, is_loopback
from libs.errors.errors import Reason, UnavailableError
from libs.telemetry import metrics

if TYPE_CHECKING:
    import httpx

MAX_WAITING = 64
"""Most calls that wait for a fetch; others are told to come again, so that they do not take the place of good ones."""

_MAX_BYTES = 256 << 10
_WELL_KNOWN = "/.well-known/openid-configuration"

_log = logging.getLogger(__name__)
_fetches = metrics.counter(
    "weft_gateway_issuer_fetches_total",
    "fetches of issuers' keys, by how they went: good, failed",
    ("issuer", "outcome"),
)


class KeysNotFetchedError(Exception):
    """The keys could not be had; the message says from where and why."""


Fetch = Callable[[], Awaitable[Jwks]]
"""Raises KeysNotFetchedError or JwksError."""


@dataclass(frozen=True)
class Patience:
    """When keys are fetched, and how long they are believed. Seconds.

    `every_s`: keys are fetched again after so long. `again_s`: not sooner than so long after a fetch for a key id that
    is not known, or after a failure. `timeout_s`: a fetch takes no longer. `stale_s`: keys are believed so long after
    the last good fetch.
    """

    every_s: float = 240.0
    again_s: float = 10.0
    first_s: float = 1.0
    """The same as `again_s`, as long as there never were keys."""
    timeout_s: float = 5.0
    stale_s: float = 3600.0
    start_s: float = 2.0
    """A start waits no longer for the first fetch."""


class PublishedKeys:
    """A KeySource whose keys are fetched: one fetch at a time, for all who wait for it. `keep_fresh` must run."""

    def __init__(
        self, issuer: str, fetch: Fetch, patience: Patience = Patience(), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._patience = patience
        self._clock = clock
        self._jwks: Jwks | None = None
        self._good_s = self._asked_s = -float("inf")
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0

    def current(self) -> Jwks:
        if self._jwks is None or self._clock() - self._good_s > self._patience.stale_s:
            raise self._unavailable()
        return self._jwks

    async def look_again(self) -> None:
        """Fetches, unless that was done within the last `again_s`."""
        if self._fetching is None and self._clock() - self._asked_s >= self._patience.again_s:
            self._begin()
        if self._fetching is not None:
            if self._waiting >= MAX_WAITING:
                raise self._unavailable()
            self._waiting += 1
            try:
                await asyncio.shield(self._fetching)
            finally:
                self._waiting -= 1
        if self._failed:
            raise self._unavailable()

    async def keep_fresh(self) -> None:
        """Fetches again and again, until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(max(0.0, self._asked_s + self._pause_s() - self._clock()))
                if self._fetching is None and self._clock() >= self._asked_s + self._pause_s():
                    self._begin()
                if self._fetching is not None:
                    await asyncio.shield(self._fetching)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()

    async def asked(self, within_s: float) -> None:
        """Fetches; returns when it is known how that went, or after `within_s`."""
        self._begin()
        assert self._fetching is not None
        await asyncio.wait({self._fetching}, timeout=within_s)

    def _pause_s(self) -> float:
        if not self._failed:
            return self._patience.every_s
        return self._patience.first_s if self._jwks is None else self._patience.again_s

    def _begin(self) -> None:
        self._asked_s = self._clock()
        self._fetching = asyncio.get_running_loop().create_task(self._fetch_once())

    async def _fetch_once(self) -> None:
        begun_s = self._asked_s
        try:
            async with asyncio.timeout(self._patience.timeout_s):
                self._jwks = await self._fetch()
            _fetches.labels(self._issuer, "good").inc()
            if self._failed:
                _log.warning("the keys of the issuer %s can be had again", self._issuer)
            self._good_s = begun_s
            self._failed = False
        except Exception as error:  # Whatever a provider does, its keys are asked for again.
            _fetches.labels(self._issuer, "failed").inc()
            if not self._failed:
                why = "it took too long" if isinstance(error, TimeoutError) else str(error) or repr(error)
                _log.warning("the keys of the issuer %s are as before: %s", self._issuer, why)
            self._failed = True
        finally:
            self._fetching = None

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"the keys of the issuer {self._issuer} cannot be had right now; try again",
            metadata={"dependency": self._issuer},
            retry_after_s=self._patience.first_s,
        )


@asynccontextmanager
async def published_keys(
    issuer: str, jwks_url: str = "", patience: Patience = Patience()
) -> AsyncIterator[PublishedKeys]:
    """The keys at `jwks_url`, or those that discovery of the issuer names; kept fresh while entered.

    What cannot be reached is asked again: it stops nobody.
    """
    import httpx  # 10 MB, for those gateways alone whose keys are at a URL

    url = jwks_url or issuer
    proxies = not is_loopback(urlsplit(url).hostname or "")
    async with httpx.AsyncClient(timeout=patience.timeout_s, trust_env=proxies) as client:
        fetch = _at(client, jwks_url) if jwks_url else _discovered(client, issuer)
        keys = PublishedKeys(issuer, fetch, patience)
        await keys.asked(within_s=patience.start_s)
        freshening = asyncio.create_task(keys.keep_fresh())
        try:
            yield keys
        finally:
            freshening.cancel()
            with suppress(asyncio.CancelledError):
                await freshening


def _at(client: httpx.AsyncClient, url: str) -> Fetch:
    async def fetch() -> Jwks:
        return published_jwks(await _got(client, url), url)

    return fetch


def _discovered(client: httpx.AsyncClient, issuer: str) -> Fetch:
    """OpenID Connect Discovery 1.0, section 4: what is found must be of this very issuer."""
    where = issuer.rstrip("/") + _WELL_KNOWN

    async def fetch() -> Jwks:
        try:
            found = json.loads(await _got(client, where))
            named, url = found["issuer"], str(found["jwks_uri"])
        except (ValueError, KeyError, TypeError) as error:
            raise KeysNotFetchedError(f"{where} is not a discovery document: {error!r}") from None
        if named != issuer:
            raise KeysNotFetchedError(f"{where} is of the issuer {named!r}, not of {issuer!r}")
        return published_jwks(await _got(client, url), url)

    return fetch


async def _got(client: httpx.AsyncClient, url: str) -> bytes:
    """The bounded body at a URL; redirects are not followed."""
    import httpx

    content = bytearray()
    try:
        check_url(url)
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with client.stream("GET", url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise KeysNotFetchedError(f"{url} answers with status {response.status_code}")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise KeysNotFetchedError(f"{url} answers with more than {_MAX_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise KeysNotFetchedError(f"{url}: {error or repr(error)}") from None
    return bytes(content)
