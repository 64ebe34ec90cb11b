"""What a call may use is lent to its inner calls, and what it used is told to the ledger whatever its end is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext
from libs.contracts import headers
from libs.errors.errors import Reason, ResourceExhaustedError
from libs.ledger.accounts import Execution
from libs.rpc.call import current_call, depends, running
from libs.rpc.channel import channel
from libs.rpc.executions import executing, recorded
from libs.rpc.server import Component
from libs.testing.eventually import eventually
from libs.testing.serving import KeptAccounts, calling, raw_unary, running_call, serving

ANSWER = "/weft.rag.v1.AnswerService/Answer"
EMBED = "/weft.embedding.v1.EmbeddingService/Embed"
INFER = "/inference.GRPCInferenceService/ModelInfer"
READ = "/weft.rag.v1.CollectionService/GetCollection"
SEARCH = "/weft.rag.v1.SearchService/Search"
TEN_BYTES = b"0123456789"

Work = Callable[[bytes, Any], Awaitable[bytes]]


async def embed_five(body: bytes, context: Any) -> bytes:
    """Uses five tokens; answers what it was lent."""
    async with executing("embed") as execution:
        execution.used(input_tokens=5, output_tokens=0)
        return str(execution.allowance_tokens).encode()


@asynccontextmanager
async def two_services(
    inner: Work, outer: Callable[[grpc.aio.Channel], Work], *, reached: bool = True, **context: Any
) -> AsyncIterator[tuple[Any, KeptAccounts]]:
    """A call of the outer one, whose work may call the inner one; and what both told the ledger."""
    accounts = KeptAccounts(reached=reached)
    async with (
        serving(Component(passthrough={EMBED: inner, INFER: inner}, accounts=accounts)) as behind,
        channel(behind.address) as inwards,
        serving(Component(passthrough={ANSWER: outer(inwards), READ: outer(inwards)}, accounts=accounts)) as front,
        calling(front, **context) as caller,
    ):
        yield caller, accounts


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


async def test_an_answer_names_its_own_stamps_and_its_inner_calls() -> None:
    """`weft-depends` has what the service and its inner calls said; where they contradict each other it is not sent."""
    versions = iter(["1", "1", "1", "2"])

    async def embed(body: bytes, context: Any) -> bytes:
        depends({"model/embed": next(versions)})
        return b""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            depends({"collection/guides": "17"})
            for _ in range(2):
                await raw_unary(inwards, EMBED)(b"")
            return b""

        return work

    async with two_services(embed, outer) as (caller, _):
        said = []
        for _ in range(2):
            call = raw_unary(caller, ANSWER)(b"")
            await call
            said.append(dict(await call.trailing_metadata()).get(headers.DEPENDS))
    assert said == ["collection/guides=17 model/embed=1", None]


async def test_a_service_that_says_nothing_is_not_spoken_for() -> None:
    """Without a word of the service itself, what its inner calls depend on does not make its answer one to keep."""

    async def embed(body: bytes, context: Any) -> bytes:
        depends({"model/embed": "1"})
        return b""

    def outer(inwards: grpc.aio.Channel) -> Work:
        async def work(body: bytes, context: Any) -> bytes:
            return bytes(await raw_unary(inwards, EMBED)(b""))

        return work

    async with two_services(embed, outer) as (caller, _):
        call = raw_unary(caller, ANSWER)(b"")
        await call
        assert headers.DEPENDS not in dict(await call.trailing_metadata())


async def test_an_execution_takes_all_and_gives_back_what_it_left() -> None:
    """While it runs nothing is left to lend; afterwards all but what it used is."""
    accounts = KeptAccounts()
    async with running_call(allowance_tokens=100, accounts=accounts) as scope:
        async with executing("generate") as execution:
            assert (execution.allowance_tokens, scope.allowance_tokens) == (100, 0)
            execution.used(input_tokens=30, output_tokens=12)
        assert (scope.allowance_tokens, scope.used_tokens) == (58, 42)
        assert execution.execution_id.startswith(f"{current_call().path}/")
