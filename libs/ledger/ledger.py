"""The ledger in Redis: what calls used, charged to the budgets for which their reservations were made.

Every step is one script (`lua/`) over the keys of one tenant, so it happens whole, beside nothing else, and by Redis'
clock alone. All of them may come twice, and in any order.

What is told again of a call is known for a quarter of an hour after it is settled. A record of a call of which nothing
is known is charged to the day on which it comes if the call had no allowance (so no budget, and perhaps no reservation:
Redis was down when it was admitted) or its deadline is not long past (Redis has lost its reservation). Else it was
settled long ago: it is not charged, but logged and counted as late.

Records (the stream `LedgerKeys.records`, about the last 200,000 of a tenant) have these fields, all of them text:
  call, execution   ids; `execution` is "" where a lease's end charged what was reserved, as nobody told what was used
  key, method       of the call's reservation; `method` is "" where the call was admitted while Redis was not reached
  model             what was used; "" with an execution of ""
  input, output     tokens; negative where a late record takes back what a lease's end had charged, as `cost` is
  cost              nanos of the currency, by the prices at the call's admission
  day               YYYYMMDD (UTC) of the call's admission: the day, and month, whose budgets were charged
The sums of a day's records are its usage sums, and the used sums of its budgets. An execution counts as one where
`execution` is not "".

Tokens and nanos are whole numbers, and their sums are exact below 2^53 (9 million units of the currency a month).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis

from libs.auth.context import CallContext
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.store.outbox import LIMIT, Outbox
from libs.store.scripts import read_lua, read_script
from libs.telemetry import logs, metrics

WRITTEN_WITHIN_S = 1.0

PRELUDE = read_lua("libs.ledger", "account")
"""Comes before each script over the ledger's keys: `KEYS[1]` is `LedgerKeys.prefix`."""

_BEGIN = read_script("libs.ledger", "begin")
_RECORD = read_script("libs.ledger", "record", PRELUDE)
_CLOSE = read_script("libs.ledger", "close", PRELUDE)

_LATE = metrics.counter("weft_ledger_late_total", "Records that came when nothing was known of their call any more.")


class RedisLedger:
    """`Accounts` in Redis. What is told is written in the order in which it is told, in an outbox that bears that Redis
    is down; stop it with `aclose`."""

    def __init__(self, redis: Redis, *, waiting: int = LIMIT, within_s: float = WRITTEN_WITHIN_S) -> None:
        self._outbox = Outbox(redis, "ledger", waiting)
        self._within_s = within_s

    def begin(self, call: CallContext, execution_id: str) -> None:
        self._outbox.put(_BEGIN, [_prefix(call)], [call.call_id, execution_id])

    async def record(self, call: CallContext, execution: Execution) -> bool:
        unbounded = call.allowance_tokens is None
        written = self._outbox.put(
            _RECORD,
            [_prefix(call)],
            [
                call.call_id,
                execution.execution_id,
                execution.model,
                max(0, execution.input_tokens),
                max(0, execution.output_tokens),
                int(unbounded),
                call.principal,
                round(call.deadline_s),
            ],
        )
        written.add_done_callback(lambda answer: _tell_late(answer, call, execution))
        return await self._written(written)

    async def close(self, call: CallContext, unseen: Sequence[str]) -> None:
        await self._written(self._outbox.put(_CLOSE, [_prefix(call)], [call.call_id, *unseen]))

    async def aclose(self, within_s: float) -> None:
        """Writes what waits, for at most `within_s`; what is left then is lost, logged and counted."""
        await self._outbox.aclose(within_s)

    @property
    def waiting(self) -> int:
        """How much is told and not written yet."""
        return len(self._outbox)

    async def _written(self, answer: asyncio.Future[object]) -> bool:
        await asyncio.wait([answer], timeout=self._within_s)
        return answer.done() and not answer.cancelled()


def _prefix(call: CallContext) -> str:
    return LedgerKeys(call.tenant).prefix


def _tell_late(answer: asyncio.Future[object], call: CallContext, execution: Execution) -> None:
    if not answer.cancelled() and answer.result() == b"LATE":
        _LATE.inc()
        logs.warning(
            "ledger",
            late=execution.execution_id,
            call=call.call_id,
            tenant=call.tenant,
            model=execution.model,
            input_tokens=execution.input_tokens,
            output_tokens=execution.output_tokens,
        )
