"""API keys as callers present them: believed for a moment, refused soon after they end, never read too often."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from libs.auth.key_sources import FileKeys
from libs.auth.tokens import Principal
from libs.auth.verifier import Issuer, TokenVerifier
from libs.errors.errors import Reason, ServiceError, UnauthenticatedError, UnavailableError
from libs.store.redis import unavailable
from services.gateway.adapters.identities import BELIEVED_S, MISSED_S, CallerIdentities, KeyCallers
from services.gateway.domain.api_keys import ApiKey, derived_key
from services.gateway.tests.signers import AUDIENCE, ISSUER, SIGNERS

NOW_S = 1_900_000_000.0
TENANT = "acme_eu"
MADE = derived_key(b"k" * 32, TENANT, "", b"nonce")
KEY = ApiKey(MADE.key_id, TENANT, "", ("rag.read",), "small", NOW_S - 60)


class Records:
    """The port KeyRecords, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[ApiKey, bytes]] = {(TENANT, KEY.key_id): (KEY, MADE.digest)}
        self.reads = 0
        self.noted: list[float] = []
        self.down = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    def put(self, key: ApiKey) -> None:
        self.kept[TENANT, key.key_id] = key, MADE.digest

    async def find(self, tenant: str, key_id: str) -> tuple[ApiKey, bytes] | None:
        self.reads += 1
        await self.go_on.wait()
        if self.down:
            raise unavailable()
        return self.kept.get((tenant, key_id))

    def note_use(self, key: ApiKey, now_s: float) -> None:
        self.noted.append(now_s)


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def callers(records: Records, clock: Clock) -> KeyCallers:
    return KeyCallers(records, clock)


async def refusal(callers: KeyCallers, text: str, now_s: float = NOW_S) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await callers.identify(text, now_s)
    return raised.value


async def test_a_key_is_a_principal(callers: KeyCallers) -> None:
    """With its tenant, scopes and plan; one that never ends says so."""
    expected = Principal(f"key:{KEY.key_id}", TENANT, frozenset({"rag.read"}), math.inf, "small")
    assert await callers.identify(MADE.text, NOW_S) == expected


async def test_a_key_that_was_just_read_is_not_read_again(callers: KeyCallers, records: Records, clock: Clock) -> None:
    """Within the time that it is believed there is one read and one note of its use, and nothing to wait for."""
    await callers.identify(MADE.text, NOW_S)
    clock.now_s += BELIEVED_S
    with pytest.raises(StopIteration):
        callers.identify(MADE.text, NOW_S + 4).send(None)
    assert (records.reads, records.noted) == (1, [NOW_S])
    clock.now_s += 0.1
    await callers.identify(MADE.text, NOW_S + 5)
    assert (records.reads, records.noted) == (2, [NOW_S, NOW_S + 5])


async def test_many_calls_read_a_key_once(callers: KeyCallers, records: Records) -> None:
    """Calls that come while it is read share what is found; one of them that leaves takes nothing from the others."""
    records.go_on.clear()
    asking = [asyncio.create_task(callers.identify(MADE.text, NOW_S)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    records.go_on.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found].count(Principal) == 49
    assert records.reads == 1


async def test_a_revoked_key_is_refused_soon(callers: KeyCallers, records: Records, clock: Clock) -> None:
    """Within 5 seconds, which are those that it is believed and a read."""
    await callers.identify(MADE.text, NOW_S)
    records.put(replace(KEY, revoke_time_s=NOW_S))
    clock.now_s += BELIEVED_S + 0.1
    error = await refusal(callers, MADE.text)
    assert (error.reason, "revoked" in error.message) == (Reason.TOKEN_REFUSED, True)
    assert BELIEVED_S + 1 <= 5


async def test_a_key_ends_in_time(callers: KeyCallers, records: Records) -> None:
    """It is good until its expiry, read before or not, and then tells since when it is not."""
    records.put(replace(KEY, expire_time_s=NOW_S))
    assert (await callers.identify(MADE.text, NOW_S)).expire_time_s == NOW_S
    error = await refusal(callers, MADE.text, NOW_S + 0.1)
    assert (error.reason, error.metadata) == (Reason.TOKEN_EXPIRED, {"expire_time": "2030-03-17T17:46:40Z"})


@pytest.mark.parametrize("state", [{}, {"revoke_time_s": NOW_S}, {"expire_time_s": NOW_S - 1}])
async def test_half_a_secret_tells_nothing(callers: KeyCallers, records: Records, state: dict[str, float]) -> None:
    """A wrong secret is refused as a key that was never made is, whatever became of the one with that id."""
    records.put(replace(KEY, **state))  # type: ignore[arg-type]
    wrong = MADE.text[:-1] + ("0" if MADE.text[-1] != "0" else "1")
    never = derived_key(b"x" * 32, TENANT, "", b"other").text
    elsewhere = MADE.text.replace(TENANT, "globex")
    told = [await refusal(callers, text) for text in (wrong, never, elsewhere)]
    assert {(error.reason, error.message) for error in told} == {(told[0].reason, told[0].message)}
    assert told[0].reason is Reason.TOKEN_REFUSED
    assert records.noted == []


@pytest.mark.parametrize(
    "text",
    [
        "weft_",
        "weft_acme",
        "weft_acme_short_secret",
        MADE.text + "0",
        MADE.text[:-1],
        MADE.text.replace(TENANT, ""),
        MADE.text.replace(TENANT, "a/b"),
        MADE.text.replace(TENANT, "a" * 64),
        MADE.text.replace(TENANT, "{acme}"),
        MADE.text.replace(TENANT, "\u00e4"),
        MADE.text[:-1] + "-",
    ],
)
async def test_what_is_no_key_is_told_so(callers: KeyCallers, records: Records, text: str) -> None:
    """Without asking anybody."""
    assert (await refusal(callers, text)).reason is Reason.TOKEN_MALFORMED
    assert records.reads == 0


async def test_a_key_that_is_missed_is_not_looked_for_at_once(
    callers: KeyCallers, records: Records, clock: Clock
) -> None:
    """For a moment it is known that there is none; then it is looked for again."""
    records.kept.clear()
    for _ in range(3):
        await refusal(callers, MADE.text)
    assert records.reads == 1
    records.put(KEY)
    clock.now_s += MISSED_S + 0.1
    assert await callers.identify(MADE.text, NOW_S)


async def test_guesses_do_not_drive_out_keys(callers: KeyCallers, records: Records) -> None:
    """However many keys are guessed, one that is in use stays known."""
    await callers.identify(MADE.text, NOW_S)
    for number in range(5000):
        await refusal(callers, derived_key(b"x" * 32, TENANT, "", str(number).encode()).text)
    assert records.reads == 5001
    assert await callers.identify(MADE.text, NOW_S)
    assert records.reads == 5001


async def test_reads_under_way_are_bounded(callers: KeyCallers, records: Records) -> None:
    """While too many keys are read, another one is told to come again."""
    records.go_on.clear()
    texts = [derived_key(b"x" * 32, TENANT, "", str(number).encode()).text for number in range(256)]
    asking = [asyncio.create_task(callers.identify(text, NOW_S)) for text in texts]
    await asyncio.sleep(0)
    assert (await refusal(callers, MADE.text)).reason is Reason.DEPENDENCY_UNAVAILABLE
    records.go_on.set()
    await asyncio.gather(*asking, return_exceptions=True)
    assert await callers.identify(MADE.text, NOW_S)


async def test_without_a_store_keys_are_believed_no_longer_than_ever(
    callers: KeyCallers, records: Records, clock: Clock
) -> None:
    """A key that was just read is good; after that nobody can tell, and each call asks again."""
    await callers.identify(MADE.text, NOW_S)
    records.down = True
    assert await callers.identify(MADE.text, NOW_S)
    clock.now_s += BELIEVED_S + 0.1
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await callers.identify(MADE.text, NOW_S)
    records.down = False
    assert await callers.identify(MADE.text, NOW_S)


async def test_a_key_and_a_token_are_told_apart(callers: KeyCallers, tmp_path: Path) -> None:
    """A key goes to the keys, all else to the tokens; what comes of both is of one kind."""
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [SIGNERS["EdDSA"].jwk()]}))
    identities = CallerIdentities(TokenVerifier([Issuer(ISSUER, AUDIENCE, FileKeys(jwks))]), callers)
    assert (await identities.identify(MADE.text, NOW_S)).tenant == TENANT
    assert (await identities.identify(SIGNERS["EdDSA"].token(exp=NOW_S), NOW_S)).subject == "kim"
    with pytest.raises(UnauthenticatedError) as raised:
        await identities.identify("x", NOW_S)
    assert (raised.value.reason, "token" in raised.value.message) == (Reason.TOKEN_MALFORMED, True)
