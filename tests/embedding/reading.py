"""What a Triton says that its embedding model has read."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from libs.contracts.open_inference import open_inference_pb2
from libs.parts.processes import RunningPart


async def texts_read(triton: RunningPart) -> int:
    """How many texts the embed model has read."""
    messages: Any = open_inference_pb2()
    async with grpc.aio.insecure_channel(triton.address) as channel:
        statistics: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics", None, messages.ModelStatisticsResponse.FromString
        )
        answer = await statistics(messages.ModelStatisticsRequest(name="embed").SerializeToString())
    return int(answer.model_stats[0].inference_count)


async def has_read(triton: RunningPart, count: int) -> bool:
    """Whether it has read so many."""
    return await texts_read(triton) >= count


async def is_idle(triton: RunningPart) -> bool:
    """Whether it reads nothing but what health asks now and then."""
    before = await texts_read(triton)
    await asyncio.sleep(0.5)
    return await texts_read(triton) <= before + 2
