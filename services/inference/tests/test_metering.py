"""What calls use: bounded by their allowance, told, and recorded, all the same to the token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from libs.auth.context import CallContext, seal
from libs.ledger.accounts import Execution
from libs.ledger.keys import LedgerKeys
from libs.parts.processes import RunningPart
from libs.rpc.call import CallScope, new_request_id
from libs.rpc.channel import carrying
from libs.store.redis import connect
from libs.testing.eventually import eventually
from libs.testing.serving import KeptAccounts, Served, calling, serving
from services.inference.domain.chat import Message, Role
from services.inference.domain.chat_templates import render_chatml
from services.inference.settings import InferenceSettings
from services.inference.tests.callers import (
    PREFIX,
    QUESTION,
    embed_request,
    generate_request,
    model_has_begun,
    pb,
    prompt,
    texts_embedded,
    told,
    typed,
)
from services.inference.tests.conftest import long_prompt, settings_of
from services.inference.wiring import inference
from weft.inference.v1 import generation_service_pb2 as generation_pb

RENDERED = len(render_chatml([Message(Role.USER, QUESTION)]).encode())
"""Bytes of the test's prompt as the model reads it."""


def tokens(count: int) -> int:
    """What so many bytes cost."""
    return -(-count // 4)


@pytest.fixture(scope="module")
async def books() -> KeptAccounts:
    """What was recorded."""
    return KeptAccounts()


@pytest.fixture(scope="module")
async def metered(triton_server: RunningPart, redis_url: str, books: KeptAccounts) -> AsyncIterator[Served]:
    """The service, whose ledger only remembers."""
    settings = InferenceSettings.model_validate(settings_of(triton_server.address, redis_url))
    async with inference(settings) as component, serving(replace(component, accounts=books)) as served:
        yield served


@asynccontextmanager
async def own_calls(metered: Served, **context: Any) -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    """Calls of a tenant that nobody else is."""
    tenant = new_request_id()
    async with calling(metered, tenant, **context) as channel:
        yield channel, tenant


async def executions(books: KeptAccounts, tenant: str, count: int = 1) -> list[Execution]:
    """What was recorded of a tenant, when its calls are closed: no more comes then."""
    await eventually(lambda: [call for call, _ in books.closed if call.tenant == tenant])
    found = [execution for call, execution in books.executions if call.tenant == tenant]
    assert len(found) == count
    return found


async def streamed(channel: grpc.aio.Channel, **others: Any) -> list[generation_pb.StreamGenerateResponse]:
    """All messages of a stream that does not fail."""
    call = typed(channel).StreamGenerate(generation_pb.StreamGenerateRequest(prompt=prompt(**others)))
    return [message async for message in call]


async def test_the_usage_told_is_the_usage_recorded(metered: Served, books: KeptAccounts) -> None:
    """By the stream, by the answer in one piece, and by the ledger."""
    async with own_calls(metered) as (channel, tenant):
        usage = (await streamed(channel))[-2].usage
        (execution,) = await executions(books, tenant)
        whole = await typed(channel).Generate(generation_pb.GenerateRequest(prompt=prompt()))
    assert (execution.model, execution.input_tokens, execution.output_tokens) == (
        "generate",
        usage.input_tokens,
        usage.output_tokens,
    )
    assert whole.usage == usage


async def test_an_allowance_ends_a_text_with_budget(metered: Served, books: KeptAccounts) -> None:
    """The text is as long as the allowance lets it surely be, the reason is BUDGET, and nothing is used beyond it."""
    async with own_calls(metered) as (channel, _):
        text = "".join(message.delta.text for message in await streamed(channel))
    for spare in (0, 1, 5):
        async with own_calls(metered, allowance_tokens=RENDERED + spare) as (channel, tenant):
            messages = await streamed(channel)
            (*found,) = await executions(books, tenant, 1 if spare else 0)
        assert messages[-1].done.finish_reason == generation_pb.FINISH_REASON_BUDGET
        assert messages[-2].usage.output_tokens == spare
        assert text.startswith("".join(message.delta.text for message in messages))
        assert sum(one.input_tokens + one.output_tokens for one in found) <= RENDERED + spare


async def test_an_allowance_in_the_answer_in_one_piece(metered: Served) -> None:
    """Generate says BUDGET as well, with the usage, and no error."""
    async with own_calls(metered, allowance_tokens=3) as (channel, _):
        answer = await typed(channel).Generate(generation_pb.GenerateRequest(prompt=prompt()))
    assert answer == generation_pb.GenerateResponse(
        finish_reason=generation_pb.FINISH_REASON_BUDGET, usage=answer.usage, model="extractive-v1"
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (0, 0)


async def test_a_cancelled_stream_is_charged_what_was_produced(metered: Served, books: KeptAccounts) -> None:
    """A caller that leaves after some tokens: the record has at least those that it saw, and the prompt."""
    async with own_calls(metered) as (channel, tenant):
        call = typed(channel).StreamGenerate(generation_pb.StreamGenerateRequest(prompt=prompt()))
        for _ in range(3):
            assert (await call.read()).delta.text
        call.cancel()
        (execution,) = await executions(books, tenant)
        whole = (await streamed(channel))[-2].usage
    assert execution.input_tokens == whole.input_tokens
    assert 3 <= execution.output_tokens <= whole.output_tokens


async def test_a_deadline_before_the_first_token_costs_nothing(metered: Served, books: KeptAccounts) -> None:
    """The execution is recorded, with nothing: nothing was seen to be produced."""
    async with own_calls(metered, timeout_s=0.3) as (channel, tenant):
        with pytest.raises(grpc.aio.AioRpcError):
            await typed(channel).Generate(generation_pb.GenerateRequest(prompt=prompt(long_prompt("a late meter"))))
        (execution,) = await executions(books, tenant)
    assert (execution.input_tokens, execution.output_tokens) == (0, 0)


async def test_what_a_text_depends_on_is_said(metered: Served) -> None:
    """Its model and version, in the trailers of both methods; nothing of a text that a budget has cut."""
    request = generation_pb.GenerateRequest(prompt=prompt())
    async with own_calls(metered) as (channel, _):
        whole = typed(channel).Generate(request)
        stream = typed(channel).StreamGenerate(generation_pb.StreamGenerateRequest(prompt=prompt()))
        _ = [message async for message in stream]
        said = [dict(await call.trailing_metadata()).get("weft-depends") for call in (whole, stream)]
    async with own_calls(metered, allowance_tokens=3) as (channel, _):
        said.append(dict(await typed(channel).Generate(request).trailing_metadata()).get("weft-depends"))
    assert said == ["model/generate=1", "model/generate=1", None]


async def test_infer_is_charged_by_bytes(metered: Served, books: KeptAccounts) -> None:
    """Four bytes are a token, in each direction, and a call has 16 beside them."""
    body = embed_request("one", "two").SerializeToString()
    async with own_calls(metered) as (channel, tenant):
        answer: Any = await channel.unary_unary(f"{PREFIX}ModelInfer")(body)
        (execution,) = await executions(books, tenant)
    assert (execution.model, execution.input_tokens, execution.output_tokens) == (
        "embed",
        tokens(len(body)) + 16,
        tokens(len(answer)),
    )


async def test_an_inner_call_records_nothing_itself(metered: Served, books: KeptAccounts) -> None:
    """Whoever made it does: a call of embedding's is not counted twice."""
    tenant, deadline_s = new_request_id(), time.time() + 30
    context = CallContext(tenant, "alice", new_request_id(), new_request_id(), "normal", deadline_s)
    scope = CallScope(context, seal(context, metered.key), deadline_s, key=metered.key)
    async with carrying(metered.address, lambda: scope) as channel:
        await channel.unary_unary(f"{PREFIX}ModelInfer")(embed_request("x").SerializeToString())
    assert [call for call, _ in books.executions if call.tenant == tenant] == []


async def test_a_request_beyond_the_allowance(metered: Served, books: KeptAccounts) -> None:
    """Refused before the model is asked; the answer to one within it may pass it by its own size."""
    body = embed_request("one").SerializeToString()
    asked = tokens(len(body)) + 16
    async with own_calls(metered, allowance_tokens=asked - 1) as (channel, tenant):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{PREFIX}ModelInfer")(body)
        assert await executions(books, tenant, 0) == []
    assert (told(caught.value).code, told(caught.value).reason) == ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")
    async with own_calls(metered, allowance_tokens=asked) as (channel, tenant):
        assert await channel.unary_unary(f"{PREFIX}ModelInfer")(body)
        (execution,) = await executions(books, tenant)
    assert execution.input_tokens == asked < execution.input_tokens + execution.output_tokens


async def test_a_stream_is_charged_by_bytes(metered: Served, books: KeptAccounts) -> None:
    """An execution for each model, of all its requests and answers."""
    bodies = [embed_request("one").SerializeToString(), generate_request("Hello.").SerializeToString()]
    async with own_calls(metered) as (channel, tenant):
        call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")(iter(bodies))
        answers = [answer async for answer in call]
        found = await executions(books, tenant, 2)
    sizes = {"embed": 0, "generate": 0}
    for answer in answers:
        sizes[pb.ModelStreamInferResponse.FromString(answer).infer_response.model_name] += len(answer)
    expected = {
        model: (tokens(len(body)), -(-sizes[model] // 4))
        for model, body in zip(("embed", "generate"), bodies, strict=True)
    }
    assert {one.model: (one.input_tokens, one.output_tokens) for one in found} == expected


async def test_a_stream_ends_when_its_allowance_is_used_up(metered: Served, books: KeptAccounts) -> None:
    """BUDGET_EXHAUSTED in place of the answer that would pass it; the answers before it are all that is charged."""
    body = embed_request("one").SerializeToString()
    async with own_calls(metered) as (channel, _):
        answer: Any = await channel.stream_stream(f"{PREFIX}ModelStreamInfer")(iter([body])).read()
    size = len(answer)
    allowance = tokens(3 * len(body)) + tokens(2 * size) + size // 8
    async with own_calls(metered, allowance_tokens=allowance) as (channel, tenant):
        call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        for _ in range(2):
            await call.write(body)
            assert await call.read() is not grpc.aio.EOF
        await call.write(body)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
            await call.read()
        (execution,) = await executions(books, tenant)
    assert (told(caught.value).code, told(caught.value).reason) == ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED")
    assert (execution.input_tokens, execution.output_tokens) == (tokens(3 * len(body)), tokens(2 * size))


async def test_a_cancelled_stream_of_bytes_is_charged(
    metered: Served, books: KeptAccounts, triton_server: RunningPart
) -> None:
    """What was sent before the caller left."""
    before = await texts_embedded(triton_server)
    body = generate_request(long_prompt("a cancelled meter")).SerializeToString()
    async with own_calls(metered) as (channel, tenant):
        call: Any = channel.stream_stream(f"{PREFIX}ModelStreamInfer")()
        await call.write(body)
        await eventually(lambda: model_has_begun(triton_server, before), within_s=20)
        call.cancel()
        (execution,) = await executions(books, tenant)
    assert (execution.model, execution.input_tokens, execution.output_tokens) == ("generate", tokens(len(body)), 0)


async def test_the_ledger_has_it(inference_service: Served, redis_url: str) -> None:
    """As wired: the records of a hundred calls in Redis add up to what their callers were told."""
    tenant = new_request_id()
    async with calling(inference_service, tenant) as channel:
        request = generation_pb.GenerateRequest(prompt=prompt(max_output_tokens=4))
        answers = await asyncio.gather(*(typed(channel).Generate(request) for _ in range(100)))
    async with connect(redis_url) as redis:
        entries: Any = await redis.xrange(LedgerKeys(tenant).records)
    assert len(entries) == 100
    for field, expected in ((b"input", "input_tokens"), (b"output", "output_tokens")):
        recorded = sum(int(entry[field]) for _, entry in entries)
        assert recorded == sum(int(getattr(answer.usage, expected)) for answer in answers)
