"""Processes of a bench: each says where it listens when it is ready, in a line of JSON as our services do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from libs.parts.processes import RunningPart, start_part, wait_until

START_WITHIN_S = 60.0


@asynccontextmanager
async def started(*command: str, **environment: str) -> AsyncIterator[tuple[RunningPart, str]]:
    """`python -m COMMAND` and the address that it says it is ready at; it ends with the block.

    Its lines go to a file, as those of `weft up` do.
    """
    async with started_of(None, *command, **environment) as both:
        yield both


@asynccontextmanager
async def started_of(
    checkout: Path | None, /, *command: str, **environment: str
) -> AsyncIterator[tuple[RunningPart, str]]:
    """The same with the code of another checkout, where one is named."""
    if checkout is not None:
        folders = (checkout, checkout / "libs/contracts/stubs", checkout / "libs/client")
        environment = {**environment, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    with tempfile.TemporaryDirectory() as folder:
        part = start_part(
            command[0],
            [sys.executable, "-m", *command],
            log=Path(folder) / "log",
            environment=environment,
            cwd=checkout,
        )
        try:
            yield part, await asyncio.to_thread(wait_until, part, lambda: _address(part), START_WITHIN_S)
        finally:
            await asyncio.to_thread(part.stop)


def _address(part: RunningPart) -> str | None:
    """Where it listens, once it has said so."""
    for line in part.written().splitlines():
        if line.startswith("{") and line.endswith("}"):
            entry = json.loads(line)
            if entry["event"] == "ready":
                address: str = entry["address"]
                return address
    return None
