"""What the failures of calls to Triton mean."""

from __future__ import annotations

import time

import grpc

from libs.errors.errors import DeadlineExceededError, Reason
from libs.rpc.channel import channel
from libs.testing.serving import running_call
from services.inference.adapters.server import InferenceServer


async def test_what_a_proxy_ends_at_the_deadline_is_late() -> None:
    """UNAVAILABLE after the running call's deadline says nothing of the server: neither that it is away, nor that the
    model is."""
    ended = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "upstream request timeout"
    )
    async with channel("127.0.0.1:1") as nowhere, running_call() as scope:
        server = InferenceServer(nowhere)
        assert (await server.failure(ended, "generate")).reason is Reason.DEPENDENCY_UNAVAILABLE
        scope.deadline_s = time.time()
        assert type(await server.failure(ended, "generate")) is DeadlineExceededError
