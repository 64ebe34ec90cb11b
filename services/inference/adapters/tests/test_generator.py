"""Streams of a model that are cut."""

from __future__ import annotations

import asyncio

import pytest

from libs.errors.errors import UnavailableError
from libs.rpc.channel import channel
from services.inference.adapters.generator import TritonGenerator
from services.inference.adapters.server import InferenceServer
from services.inference.app.underway import Underway
from services.inference.domain.generation import Continuation
from services.inference.domain.models import Model, ModelKind, model_unavailable

MODEL = Model("m", kind=ModelKind.GENERATE)


@pytest.mark.parametrize("connects", [False, True])
async def test_a_stream_that_is_cut_before_it_began_ends(connects: bool) -> None:
    """The model died in the moment in which it was asked: before anything of the call was sent, or while it waited for
    a connection."""
    connecting = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connecting.set()
        await reader.read()
        writer.close()

    underway = Underway()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with channel(f"127.0.0.1:{port}") as to_silence:
            pieces = TritonGenerator(InferenceServer(to_silence), underway).generate(MODEL, Continuation("?", 1))
            waiting = asyncio.ensure_future(anext(pieces))
            await (connecting.wait() if connects else asyncio.sleep(0))
            underway.cut("m", model_unavailable("m", "its process died"))
            done, _ = await asyncio.wait([waiting], timeout=10)
            assert done, "it waits for ever"
            with pytest.raises(UnavailableError, match="its process died"):
                waiting.result()
