"""Keys of issuers that publish them: fetched over real HTTP, rotated, missed, and never asked for too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from libs.auth.jwks import Jwks
from libs.auth.verifier import Issuer, TokenVerifier
from libs.errors.errors import Reason, UnauthenticatedError, UnavailableError
from libs.telemetry import logs
from libs.testing.eventually import eventually
from libs.testing.logged import logged
from services.gateway.adapters.key_sources import (
    MAX_WAITING,
    KeysNotFetchedError,
    Patience,
    PublishedKeys,
    published_keys,
)
from services.gateway.adapters.tests.provider import DISCOVERY, JWKS, Provider, serving_provider
from services.gateway.tests.signers import AUDIENCE, ISSUER, SIGNERS, Signer

ED, ES, RS = SIGNERS["EdDSA"], SIGNERS["ES256"], SIGNERS["RS256"]
SELDOM = Patience(every_s=3600.0, again_s=3600.0, first_s=3600.0, timeout_s=60.0, start_s=60.0)
OFTEN = Patience(every_s=0.02, again_s=0.02, first_s=0.02, timeout_s=60.0, start_s=60.0)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Publishes one key."""
    async with serving_provider(ED) as serving:
        yield serving


@asynccontextmanager
async def verifying(provider: Provider, patience: Patience) -> AsyncIterator[TokenVerifier]:
    """A verifier of the provider's tokens, its keys from its JWKS URL."""
    async with published_keys(ISSUER, provider.jwks_url, patience) as keys:
        yield TokenVerifier([Issuer(ISSUER, AUDIENCE, keys)])


async def reason_of(verifier: TokenVerifier, signer: Signer) -> Reason | None:
    """Why the verifier does not take a token of this signer; None where it does."""
    try:
        await verifier.verify(signer.token(), 0.0)
    except (UnauthenticatedError, UnavailableError) as error:
        return error.reason
    return None


async def test_keys_come_from_a_url(provider: Provider) -> None:
    """They are fetched once, however many tokens they verify."""
    async with verifying(provider, SELDOM) as verifier:
        for number in range(3):
            assert await verifier.verify(ED.token(sub=f"user-{number}"), 0.0)
        assert provider.asked == {JWKS: 1}


async def test_keys_come_by_discovery(provider: Provider) -> None:
    """The issuer's own document says where they are (OpenID Connect Discovery)."""
    async with published_keys(provider.url, patience=SELDOM) as keys:
        verifier = TokenVerifier([Issuer(provider.url, AUDIENCE, keys)])
        assert await verifier.verify(ED.token(iss=provider.url), 0.0)
    assert provider.asked == {DISCOVERY: 1, JWKS: 1}


@pytest.mark.parametrize(
    "discovery", [{"issuer": "https://other.test"}, {"jwks_uri": "http://example.com/keys"}, {"jwks_uri": None}]
)
async def test_discovery_of_another_issuer_is_not_believed(provider: Provider, discovery: dict[str, str]) -> None:
    """A document of another issuer, or one that sends us to keys over plain HTTP, gives no keys."""
    provider.discovery = discovery
    async with published_keys(provider.url, patience=SELDOM) as keys:
        with pytest.raises(UnavailableError):
            keys.current()
    assert provider.asked == {DISCOVERY: 1}


async def test_keys_rotate_without_a_restart(provider: Provider) -> None:
    """A token of a key that is new makes us fetch; the old key's tokens, verified before, are refused from then on."""
    async with verifying(provider, replace(SELDOM, again_s=0.0)) as verifier:
        assert await reason_of(verifier, ED) is None
        provider.signers = (ES,)
        assert await reason_of(verifier, ES) is None
        assert await reason_of(verifier, ED) is Reason.TOKEN_REFUSED


async def test_a_key_that_is_gone_is_noticed_by_itself(provider: Provider) -> None:
    """Without any unknown key id, keys are fetched again and again."""
    async with verifying(provider, OFTEN) as verifier:
        assert await reason_of(verifier, ED) is None
        provider.signers = (ES,)

        async def refused() -> bool:
            return await reason_of(verifier, ED) is Reason.TOKEN_REFUSED

        await eventually(refused)


async def test_a_flood_of_unknown_keys_fetches_once(provider: Provider) -> None:
    """However many tokens name key ids that nobody has, they share a fetch, good tokens pass meanwhile without waiting,
    and there is no other fetch for a while."""
    async with verifying(provider, replace(SELDOM, again_s=0.0)) as verifier:
        good = ED.token()
        assert await verifier.verify(good, 0.0)
        provider.go_on.clear()
        flood = [asyncio.create_task(reason_of(verifier, replace(ED, kid=f"no-{number}"))) for number in range(300)]
        await eventually(lambda: provider.asked[JWKS] == 2)
        assert await verifier.verify(good, 0.0)
        assert await reason_of(verifier, replace(ED, kid="one-more")) is Reason.DEPENDENCY_UNAVAILABLE
        provider.go_on.set()
        reasons = await asyncio.gather(*flood)
    assert reasons.count(Reason.TOKEN_REFUSED) == MAX_WAITING
    assert reasons.count(Reason.DEPENDENCY_UNAVAILABLE) == 300 - MAX_WAITING
    assert provider.asked == {JWKS: 2}


async def test_an_unknown_key_is_not_looked_for_too_often(provider: Provider) -> None:
    """Within `again_s` after a fetch, tokens with an unknown key id are refused without another one."""
    async with verifying(provider, SELDOM) as verifier:
        for kid in ("a", "b"):
            assert await reason_of(verifier, replace(ED, kid=kid)) is Reason.TOKEN_REFUSED
    assert provider.asked == {JWKS: 1}


async def test_a_provider_that_is_not_there_stops_nobody(provider: Provider) -> None:
    """Its tokens are UNAVAILABLE, by the issuer's name, until it answers; then they are good. The log has a line for
    each of both, however often it was tried."""
    provider.status = 503
    with logged() as lines:
        await _away_and_back(provider)
        logs.flush()
        told = [line["message"] for line in lines() if ISSUER in line.get("message", "")]
    assert len(told) == 2
    assert "503" in told[0]
    assert "again" in told[1]


async def _away_and_back(provider: Provider) -> None:
    async with verifying(provider, OFTEN) as verifier:
        with pytest.raises(UnavailableError) as raised:
            await verifier.verify(ED.token(), 0.0)
        assert (raised.value.reason, raised.value.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": ISSUER})
        assert raised.value.retry_after_s
        await eventually(lambda: provider.asked[JWKS] > 2)
        provider.status = 200

        async def taken() -> bool:
            return await reason_of(verifier, ED) is None

        await eventually(taken)


@pytest.mark.parametrize("fault", ["status", "redirect", "garbage", "empty", "huge"])
async def test_a_faulty_answer_changes_nothing(provider: Provider, fault: str) -> None:
    """Keys stay as they were; whether a key id is new cannot be told then."""
    async with verifying(provider, replace(SELDOM, again_s=0.0)) as verifier:
        if fault in ("status", "redirect"):
            provider.status = 500 if fault == "status" else 302
        else:
            provider.body = {"garbage": b"<html>", "empty": b'{"keys": []}', "huge": b" " * (300 << 10)}[fault]
        assert await reason_of(verifier, ES) is Reason.DEPENDENCY_UNAVAILABLE
        assert await reason_of(verifier, ED) is None
    assert provider.asked == {JWKS: 2}


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def fetching(answers: list[Jwks | Exception]) -> Callable[[], object]:
    """A fetch that answers these in turn, the last one again and again."""

    async def fetch() -> Jwks:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return fetch


async def test_keys_of_a_lost_provider_end() -> None:
    """They are believed for `stale_s` after the last good fetch, and then no more; a good fetch brings them back."""
    clock = Clock()
    answers: list[Jwks | Exception] = [{}, KeysNotFetchedError("away")]
    keys = PublishedKeys("issuer", fetching(answers), Patience(again_s=10, stale_s=3600), clock)  # type: ignore[arg-type]
    await keys.asked(within_s=5)
    clock.now_s += 3600
    with pytest.raises(UnavailableError):
        await keys.look_again()
    assert keys.current() == {}
    clock.now_s += 1
    with pytest.raises(UnavailableError):
        keys.current()
    answers[:] = [{}]
    clock.now_s += 10
    await keys.look_again()
    assert keys.current() == {}


async def test_a_fault_of_ours_does_not_end_the_fetching() -> None:
    """Whatever a fetch raises counts as a failure, after which there is another."""
    answers: list[Jwks | Exception] = [ZeroDivisionError(), {}]
    keys = PublishedKeys("issuer", fetching(answers), OFTEN)  # type: ignore[arg-type]
    freshening = asyncio.create_task(keys.keep_fresh())

    def there() -> bool:
        try:
            return keys.current() == {}
        except UnavailableError:
            return False

    await eventually(there)
    freshening.cancel()


async def test_a_provider_that_dawdles_is_given_up() -> None:
    """A fetch has an end, and so has whoever waits for it; the keys before it stay."""
    first = True

    async def fetch() -> Jwks:
        nonlocal first
        if not first:
            await asyncio.Event().wait()
        first = False
        return {}

    keys = PublishedKeys("issuer", fetch, replace(SELDOM, again_s=0.0, timeout_s=0.05))
    await keys.asked(within_s=60)
    with pytest.raises(UnavailableError):
        await keys.look_again()
    assert keys.current() == {}


async def test_a_start_waits_for_no_provider_for_long() -> None:
    """A fetch that does not end is left to go on."""
    keys = PublishedKeys("issuer", asyncio.Event().wait, SELDOM)  # type: ignore[arg-type]
    await keys.asked(within_s=0.01)
    with pytest.raises(UnavailableError):
        keys.current()
    keeping = asyncio.create_task(keys.keep_fresh())
    await asyncio.sleep(0)
    keeping.cancel()
