"""What a call used is told to the ledger whatever its end is, and an end that was not seen is named."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext
from libs.errors.errors import Reason, ResourceExhaustedError
from libs.ledger.accounts import Execution
from libs.rpc.channel import channel
from libs.rpc.executions import executing, recorded
from libs.rpc.server import Component
from libs.rpc.tests.lab import ANSWER, EMBED, READ, SEARCH, TEN_BYTES, Work, embed_five, two_services
from libs.testing.eventually import eventually
from libs.testing.serving import KeptAccounts, calling, raw_unary, running_call, serving


@pytest.mark.parametrize("end", ["error", "cancel", "deadline"])
async def test_what_was_used_is_recorded_whatever_the_end(end: str) -> None:
    """An error, a cancel and a deadline record what was used until then, once, and the call is closed after it."""
    accounts, began = KeptAccounts(), asyncio.Event()

    async def work(body: bytes, context: Any) -> bytes:
        async with executing("embed") as execution:
            execution.used(input_tokens=7, output_tokens=1)
            execution.used(input_tokens=7, output_tokens=2)
            began.set()
            if end == "error":
                raise ResourceExhaustedError(Reason.OVERLOADED, "no")
            await asyncio.Event().wait()
        return b""

    component = Component(passthrough={EMBED: work}, accounts=accounts)
    timeout_s = 0.3 if end == "deadline" else 20.0
    async with serving(component) as served, calling(served, timeout_s=timeout_s) as caller:
        call = raw_unary(caller, EMBED)(b"")
        await began.wait()
        if end == "cancel":
            call.cancel()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        await eventually(lambda: accounts.closed)
    ((_, execution),) = accounts.executions
    assert (execution.model, execution.input_tokens, execution.output_tokens) == ("embed", 7, 2)
    assert accounts.begun == [execution.execution_id]
    assert [(call.path, unseen) for call, unseen in accounts.closed] == [("", ())]


async def test_an_end_that_was_not_seen_is_named() -> None:
    """Where the caller leaves while an inner call runs, the call is closed with the inner one's path, and the inner
    one's record follows."""
    began = asyncio.Event()

    async def endless(body: bytes, context: Any) -> bytes:
        async with executing("embed") as execution:
            execution.used(input_tokens=3, output_tokens=0)
            began.set()
            await asyncio.Event().wait()
        return b""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            return bytes(await raw_unary(inwards, EMBED)(TEN_BYTES))

        return work

    async with two_services(endless, outer) as (caller, accounts):
        call = raw_unary(caller, ANSWER)(b"")
        await began.wait()
        call.cancel()
        await eventually(lambda: accounts.closed and accounts.executions)
        assert [unseen for _, unseen in accounts.closed] == [("1",)]
        assert [told.input_tokens for _, told in accounts.executions] == [3]


async def test_an_end_that_the_ledger_was_not_told_is_named() -> None:
    """Where the ledger was not reached, an inner call that ended well counts as unseen: its record is on the way."""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            return bytes(await raw_unary(inwards, EMBED)(TEN_BYTES))

        return work

    async with two_services(embed_five, outer, reached=False) as (caller, accounts):
        await raw_unary(caller, ANSWER)(b"")
        await eventually(lambda: accounts.closed)
        assert [unseen for _, unseen in accounts.closed] == [("1",)]


async def test_an_end_that_an_inner_call_did_not_see_is_named_by_the_outer_one() -> None:
    """Where an inner call goes on well without one of its own, that one may still tell: the call waits for both."""
    began = asyncio.Event()

    async def innermost(body: bytes, context: Any) -> bytes:
        began.set()
        await asyncio.Event().wait()
        return b""

    def middle(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            left = raw_unary(inwards, EMBED)(TEN_BYTES)
            await began.wait()
            left.cancel()
            return b"without it"

        return work

    accounts = KeptAccounts()
    async with (
        serving(Component(passthrough={EMBED: innermost}, accounts=accounts)) as behind,
        channel(behind.address) as inwards,
        serving(Component(passthrough={SEARCH: middle(inwards)}, accounts=accounts)) as between,
        channel(between.address) as onwards,
        serving(Component(passthrough={ANSWER: passed_on(onwards)}, accounts=accounts)) as front,
        calling(front) as caller,
    ):
        assert await raw_unary(caller, ANSWER)(b"") == b"without it"
        await eventually(lambda: accounts.closed)
    assert [unseen for _, unseen in accounts.closed] == [("1",)]


def passed_on(inwards: grpc.aio.Channel) -> Work:
    async def work(body: bytes, context: Any) -> bytes:
        return bytes(await raw_unary(inwards, SEARCH)(body))

    return work


async def test_a_call_that_was_never_sent_is_not_waited_for() -> None:
    """Where nobody listens, the inner call is not named, and its share comes back."""

    def outer(_: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            async with channel("127.0.0.1:1") as nowhere:
                with pytest.raises(grpc.aio.AioRpcError):
                    await raw_unary(nowhere, EMBED)(TEN_BYTES)
            return b""

        return work

    async with two_services(embed_five, outer, allowance_tokens=50) as (caller, accounts):
        await raw_unary(caller, ANSWER)(b"")
        await eventually(lambda: accounts.closed)
        assert [unseen for _, unseen in accounts.closed] == [()]


async def test_a_cancel_while_it_is_written_down_loses_no_record() -> None:
    """A call that is cancelled once more, while its record is on the way, is charged all the same."""

    class Slow(KeptAccounts):
        asked = asyncio.Event()
        answers = asyncio.Event()

        async def record(self, call: CallContext, execution: Execution) -> bool:
            self.asked.set()
            await self.answers.wait()
            return await super().record(call, execution)

    accounts = Slow()

    async def work() -> None:
        async with running_call(accounts=accounts), executing("embed") as execution:
            execution.used(input_tokens=7, output_tokens=2)

    call = asyncio.create_task(work())
    await accounts.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    accounts.answers.set()
    await recorded()
    assert [(told.input_tokens, told.output_tokens) for _, told in accounts.executions] == [(7, 2)]


async def test_only_calls_that_are_charged_are_closed() -> None:
    """A method without a cost has no account; a call that is refused after the gateway let it in has one."""

    def outer(_: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            raise ResourceExhaustedError(Reason.OVERLOADED, "no")

        return work

    async with two_services(embed_five, outer) as (caller, accounts):
        for path in (READ, ANSWER):
            with pytest.raises(grpc.aio.AioRpcError):
                await raw_unary(caller, path)(b"")
        await eventually(lambda: accounts.closed)
        assert len(accounts.closed) == 1
