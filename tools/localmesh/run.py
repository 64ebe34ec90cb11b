"""The controller as a process."""

from __future__ import annotations

import asyncio
import signal

from libs.telemetry import logs, metrics
from tools.localmesh.controller import Controller
from tools.localmesh.mesh import Edge
from tools.localmesh.state import Paths


async def run(paths: Paths, edge: Edge, certificate_ttl_s: float, metrics_listen: str) -> None:
    """Until SIGTERM or SIGINT. Raises MeshError where there are no rules to start with, and SettingsError where nobody
    can listen at `metrics_listen`."""
    logs.configure("mesh")
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with metrics.serve(metrics_listen) as address:
        controller = Controller(paths, edge, certificate_ttl_s)
        try:
            await controller.start()
            logs.info("ready", address=address)
            logs.flush()
            following = asyncio.create_task(controller.follow())
            await asyncio.wait([following, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            following.cancel()
        finally:
            await controller.stop()
            logs.info("stopped")
            logs.stop()
