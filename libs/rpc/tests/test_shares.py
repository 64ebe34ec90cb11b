"""What a call may use is lent to its inner calls, and what they left comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from libs.rpc.call import current_call, running
from libs.rpc.executions import executing
from libs.rpc.tests.lab import ANSWER, EMBED, INFER, TEN_BYTES, Work, embed_five, two_services
from libs.testing.eventually import eventually
from libs.testing.serving import KeptAccounts, raw_unary, running_call


async def test_an_inner_call_gets_its_share_and_gives_back_the_rest() -> None:
    """A share is the worst case of the inner call's message; what it did not use can be lent again."""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            texts = (TEN_BYTES, TEN_BYTES * 10, TEN_BYTES * 10)
            return b" ".join([await raw_unary(inwards, EMBED)(text) for text in texts])

        return work

    async with two_services(embed_five, outer, allowance_tokens=50) as (caller, accounts):
        # 10 for ten bytes, of which 5 come back; then what is left of 45; then of 40.
        assert await raw_unary(caller, ANSWER)(b"") == b"10 45 40"
        await eventually(lambda: accounts.closed)
        assert [told.input_tokens for _, told in accounts.executions] == [5, 5, 5]
        assert [call.path for call, _ in accounts.executions] == ["1", "2", "3"]
        assert [unseen for _, unseen in accounts.closed] == [()]


async def test_concurrent_calls_never_have_more_than_there_is() -> None:
    """However many inner calls are made at once, their shares together are at most what the call may use."""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            call = raw_unary(inwards, EMBED)
            return b" ".join(await asyncio.gather(*(call(TEN_BYTES) for _ in range(20))))

        return work

    async with two_services(embed_five, outer, allowance_tokens=73) as (caller, _):
        shares = [int(share) for share in (await raw_unary(caller, ANSWER)(b"")).split()]
    assert sorted(shares, reverse=True) == [10] * 7 + [3] + [0] * 12


async def test_no_bound_stays_none() -> None:
    """A call without a bound lends none."""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            return bytes(await raw_unary(inwards, EMBED)(TEN_BYTES))

        return work

    async with two_services(embed_five, outer) as (caller, _):
        assert await raw_unary(caller, ANSWER)(b"") == b"None"


async def test_the_share_of_a_call_whose_end_was_not_seen_does_not_come_back() -> None:
    """It may still be used: what is lent next is of what is left beside it."""
    began = asyncio.Event()

    async def embed(body: bytes, context: Any) -> bytes:
        if body == TEN_BYTES:
            began.set()
            await asyncio.Event().wait()
        return await embed_five(body, context)

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            left = raw_unary(inwards, EMBED)(TEN_BYTES)
            await began.wait()
            left.cancel()
            await running().all_settled()
            return bytes(await raw_unary(inwards, EMBED)(TEN_BYTES * 10))

        return work

    async with two_services(embed, outer, allowance_tokens=50) as (caller, _):
        assert await raw_unary(caller, ANSWER)(b"") == b"40"


async def test_a_method_that_is_charged_by_bytes_gets_no_share() -> None:
    """Who calls it records what it used itself, so all stays with the caller."""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            return b" ".join([await raw_unary(inwards, path)(TEN_BYTES * 10) for path in (INFER, EMBED)])

        return work

    async with two_services(embed_five, outer, allowance_tokens=50) as (caller, _):
        assert await raw_unary(caller, ANSWER)(b"") == b"None 50"


async def test_an_execution_takes_all_and_gives_back_what_it_left() -> None:
    """While it runs nothing is left to lend; afterwards all but what it used is."""
    accounts = KeptAccounts()
    async with running_call(allowance_tokens=100, accounts=accounts) as scope:
        async with executing("generate") as execution:
            assert (execution.allowance_tokens, scope.allowance_tokens) == (100, 0)
            execution.used(input_tokens=30, output_tokens=12)
        assert (scope.allowance_tokens, scope.used_tokens) == (58, 42)
        assert execution.execution_id.startswith(f"{current_call().path}/")
