"""An Envoy that takes its time has refused nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest

from libs.testing.eventually import eventually
from tools.localmesh import publish
from tools.localmesh.__main__ import CERTIFICATE_TTL_S
from tools.localmesh.controller import Controller
from tools.localmesh.mesh import Edge
from tools.localmesh.serve import Server
from tools.localmesh.tests.lab import call, running_lab

PODS = [("gateway-0", "gateway"), ("rag-0", "rag"), ("rag-1", "rag-canary")]


async def test_a_slow_envoy_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Envoy has not answered in time, that is said, the rules before hold, and the new ones are tried until it
    has."""
    async with running_lab(tmp_path, PODS) as lab, grpc.aio.insecure_channel(lab.outbound("gateway-0", "rag")) as rag:

        async def leads_to_the_canary() -> bool:
            return await call(rag) == "rag-1"

        assert lab.controller
        await asyncio.to_thread(lab.controller.stop)
        controller = Controller(lab.paths, Edge(lab.edge), CERTIFICATE_TTL_S)
        await controller.start()
        following = asyncio.create_task(controller.follow())
        try:
            await lab.ready(*(name for name, _ in PODS))
            # Envoy is handed nothing before it asks again, which is half a minute later.
            with monkeypatch.context() as slow:
                slow.setattr(publish, "TAKEN_WITHIN_S", 0.2)
                slow.setattr(Server, "changed", lambda server: None)
                lab.rewrite("routing.yaml", "subset: stable", "subset: canary")
                await eventually(lambda: lab.status().problems, within_s=60)
                [problem] = lab.status().problems
                assert problem.text.startswith("Envoy has not answered within 0.2 s: the rules are tried again")
                assert await call(rag) == "rag-0"
            await eventually(lambda: not lab.status().problems, within_s=60)
            await eventually(leads_to_the_canary, within_s=60)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await controller.stop()


async def test_an_envoy_that_hangs_has_taken_nothing(tmp_path: Path) -> None:
    """What it cannot have taken is not said to be in force, and is when it goes on."""
    async with running_lab(tmp_path, PODS) as lab:
        assert lab.envoy
        published = lab.status().published
        os.kill(lab.envoy.pid, signal.SIGSTOP)
        try:
            lab.rewrite("routing.yaml", "subset: stable", "subset: canary")
            # It is asked more than once, and each time for seconds.
            await eventually(lambda: lab.status().problems, within_s=60)
            assert lab.status().problems[0].text.startswith("Envoy has not answered within 5 s")
        finally:
            os.kill(lab.envoy.pid, signal.SIGCONT)
        await lab.published(published + 1)
        assert not lab.status().problems
