"""A small service of its own process, for tests of a service's life. Its pass-through answers when its gate file is
there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from libs.rpc.process import run  # isort: skip  first, as in every service

from libs.config.settings import ServiceSettings, settings_config
from libs.rpc.server import Component
from libs.telemetry import logs


class EchoSettings(ServiceSettings):
    """`gate` is a file; with `stuck` the service never gets ready."""

    model_config = settings_config("WEFT_ECHO_")

    gate: Path
    stuck: bool = False


@asynccontextmanager
async def build(settings: EchoSettings) -> AsyncIterator[Component]:
    async def infer(body: bytes, context: Any) -> bytes:
        logs.info("begun")
        while not settings.gate.exists():  # noqa: ASYNC110  another process makes the file
            await asyncio.sleep(0.01)
        return body

    if settings.stuck:
        logs.info("stuck")
        await asyncio.Event().wait()
    yield Component(passthrough={"/inference.GRPCInferenceService/ModelInfer": infer})
    logs.info("closed")


if __name__ == "__main__":
    run("echo", EchoSettings, build)
