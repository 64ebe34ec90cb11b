"""Who a caller's credential speaks for: a token of an issuer, or an API key of ours."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from libs.auth.tokens import KEY_SUBJECT, Principal, expired, is_tenant, malformed, refused
from libs.auth.verifier import TokenVerifier
from libs.errors.errors import UnavailableError
from libs.store.redis import unavailable
from libs.telemetry import metrics
from services.gateway.domain.api_keys import PREFIX, ApiKey, Presented, presented
from services.gateway.ports import KeyRecords

BELIEVED_S = 4.0
"""A key is believed for so long after it was read. A read takes a second at most, so that a revoked one is refused
everywhere within 5."""

MISSED_S = 1.0
"""That there is no such key is believed for so long."""

_KEY = "API key"
_MAX_KNOWN = 4096
_MAX_MISSED = 1024
_MAX_READING = 256

V = TypeVar("V")

_reads = metrics.counter("weft_gateway_key_reads_total", "reads of API keys: found, missing, failed", ("outcome",))


@dataclass(slots=True)
class _Known:
    key: ApiKey
    digest: bytes
    principal: Principal
    read_s: float
    noted: bool = False


class CallerIdentities:
    """The port Identities. A token is told from an API key by how it begins; both are the same from here on."""

    def __init__(self, tokens: TokenVerifier, keys: KeyCallers) -> None:
        self._tokens = tokens
        self._keys = keys

    async def identify(self, credential: str, now_s: float) -> Principal:
        """Waits for nothing where the credential was seen a moment ago."""
        if credential.startswith(PREFIX):
            return await self._keys.identify(credential, now_s)
        return await self._tokens.verify(credential, now_s)


class KeyCallers:
    """Tells whose an API key is. Keys that were read are remembered for BELIEVED_S, 4,096 of them, the least used go.

    Of many calls with a key that is not remembered one reads it; at most 256 keys are read at a time.
    """

    def __init__(self, records: KeyRecords, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._missed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._reading: dict[tuple[str, str], asyncio.Task[_Known | None]] = {}

    async def identify(self, credential: str, now_s: float) -> Principal:
        """Raises UnauthenticatedError TOKEN_MALFORMED, TOKEN_REFUSED or TOKEN_EXPIRED; UnavailableError where the key
        was not read within the last BELIEVED_S and cannot be now. `now_s` is Unix time."""
        sent = presented(credential)
        if not is_tenant(sent.tenant):
            raise malformed("it does not begin with a tenant's name", _KEY)
        known = self._remembered(sent) or await self._read(sent)
        # Without the whole secret nobody is told whether there is such a key.
        if known is None or not hmac.compare_digest(known.digest, sent.digest):
            raise refused("there is none such", _KEY)
        key = known.key
        if key.revoke_time_s:
            raise refused("it was revoked", _KEY)
        if key.expire_time_s and now_s > key.expire_time_s:
            raise expired(key.expire_time_s, _KEY)
        if not known.noted:
            known.noted = True
            self._records.note_use(key, now_s)
        return known.principal

    def _remembered(self, sent: Presented) -> _Known | None:
        name = (sent.tenant, sent.key_id)
        known = self._known.get(name)
        if known is None or self._clock() - known.read_s > BELIEVED_S:
            return None
        self._known.move_to_end(name)
        return known

    async def _read(self, sent: Presented) -> _Known | None:
        name = (sent.tenant, sent.key_id)
        missed_s = self._missed.get(name)
        if missed_s is not None and self._clock() - missed_s <= MISSED_S:
            return None
        reading = self._reading.get(name)
        if reading is None:
            if len(self._reading) >= _MAX_READING:
                raise unavailable()
            reading = asyncio.get_running_loop().create_task(self._find(name))
            reading.add_done_callback(_seen)
            self._reading[name] = reading
        return await asyncio.shield(reading)

    async def _find(self, name: tuple[str, str]) -> _Known | None:
        read_s = self._clock()
        self._known.pop(name, None)
        self._missed.pop(name, None)
        try:
            found = await self._records.find(*name)
        except UnavailableError:
            _reads.labels("failed").inc()
            raise
        finally:
            del self._reading[name]
        _reads.labels("missing" if found is None else "found").inc()
        if found is None:
            _remember(self._missed, name, read_s, _MAX_MISSED)
            return None
        key, digest = found
        known = _Known(key, digest, _principal(key), read_s)
        _remember(self._known, name, known, _MAX_KNOWN)
        return known


def _remember(kept: OrderedDict[tuple[str, str], V], name: tuple[str, str], value: V, limit: int) -> None:
    kept[name] = value
    if len(kept) > limit:
        kept.popitem(last=False)


def _seen(reading: asyncio.Task[_Known | None]) -> None:
    """An error of a reading whose callers have all left is no mistake of ours."""
    if not reading.cancelled():
        reading.exception()


def _principal(key: ApiKey) -> Principal:
    return Principal(
        subject=KEY_SUBJECT + key.key_id,
        tenant=key.tenant,
        scopes=frozenset(key.scopes),
        expire_time_s=key.expire_time_s or math.inf,
        plan=key.plan,
    )
