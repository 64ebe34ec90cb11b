"""Every service is restarted, replica after replica, and no caller notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509

from tests.commands import run_weft
from tests.mesh.calls import Caller, under_load
from tests.mesh.running import RunningMesh
from tools.localmesh.authority import AUTHORITIES

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

SERVICES = ("gateway", "rag", "embedding", "inference", "inference-gpu")


def serials(mesh: RunningMesh) -> dict[str, int]:
    """Of the certificate of each service account."""
    files = (mesh.state / "certificates").glob("*.pem")
    return {
        file.name: x509.load_pem_x509_certificate(file.read_bytes()).serial_number
        for file in files
        if file.name != AUTHORITIES
    }


async def test_restart_everything(mesh: RunningMesh, caller: Caller) -> None:
    """Two replicas of a service or one, which somebody stands in for: of many methods' calls, each tried once, and of
    open streams none fails; and every certificate of the mesh was replaced meanwhile."""
    before = serials(mesh)
    pids = {part: mesh.part(part).pid for part in parts(mesh)}
    streams = caller.streaming()
    async with under_load(
        caller.unary(), caller.unary()[4:], *([*streams[at:], *streams[:at]] for at in range(len(streams)))
    ) as load:
        for service in SERVICES:
            done = await asyncio.to_thread(run_weft, Path(mesh.stack.state), "restart", service)
            assert done.returncode == 0, done.stderr
    assert load.failures == []
    assert set(load.good) == {call.__name__ for call in (*caller.unary(), *streams)}
    assert [part for part, pid in pids.items() if mesh.part(part).pid == pid] == []
    after = serials(mesh)
    assert [name for name in before if before[name] == after[name]] == []
    print(f"{sum(load.good.values())} calls: {dict(load.good)}")


def parts(mesh: RunningMesh) -> list[str]:
    """All replicas of the services that are restarted."""
    return [pod.name for pod in mesh.served_pods() if pod.workload.name in SERVICES]
