"""What an answer says that it depends on: its service's own stamps, and those of its inner calls."""

from __future__ import annotations

from typing import Any

import grpc

from libs.contracts import headers
from libs.rpc.call import depends
from libs.rpc.tests.lab import ANSWER, EMBED, Work, two_services
from libs.testing.serving import raw_unary


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
