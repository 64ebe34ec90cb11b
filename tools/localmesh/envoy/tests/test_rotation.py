"""Certificates that are renewed while calls go on, through a real Envoy."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc

from libs.config.files import write_whole
from libs.testing.eventually import eventually
from tools.localmesh.authority import AUTHORITIES, AUTHORITY
from tools.localmesh.certificates import end_of, read_pair
from tools.localmesh.envoy.tests.lab import Lab, call, lab, mode, refused, security, stream

TTL_S = 4.0
RENEWALS = 4


async def test_certificates_are_renewed_without_an_error(tmp_path: Path) -> None:
    """A stream, calls over its connection, and calls over new connections go on while certificates of a few seconds run
    out several times over. Those that have run out are good for nothing."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT")), ttl_s=TTL_S) as mesh:
        first = _file(mesh, "stranger").read_bytes()
        renewing = asyncio.create_task(_renew(mesh))
        seen: set[bytes] = set()
        calls = 0
        async with mesh.channel("friend") as friend, mesh.channel("stranger") as stranger:
            ticking = stream(friend)
            while len(seen) <= RENEWALS:
                await _calls(friend, stranger, ticking)
                calls += 1
                seen.add(_file(mesh, "echo").read_bytes())
            renewing.cancel()
            handshakes = mesh.statistic("ssl.handshake")
            write_whole(_file(mesh, "stranger"), first)
            pair = read_pair(_file(mesh, "stranger"))
            assert pair
            assert end_of(pair.certificate) < time.time()
            await eventually(lambda: _is_refused(mesh, stranger))
            ticking.cancel()
    assert handshakes > calls


async def test_an_authority_is_replaced_without_an_error(tmp_path: Path) -> None:
    """The same calls go on while an authority that is lost makes room for another, until nobody trusts the old one."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh:
        old = (mesh.mesh.certificates / AUTHORITIES).read_bytes()
        (tmp_path / "authority" / AUTHORITY).unlink()
        renewing = asyncio.create_task(_renew(mesh))
        async with mesh.channel("friend") as friend, mesh.channel("stranger") as stranger:
            ticking = stream(friend)
            seen = [old]
            while len(seen) < 3:
                await _calls(friend, stranger, ticking)
                now = (mesh.mesh.certificates / AUTHORITIES).read_bytes()
                seen += [now] if now != seen[-1] else []
            for _ in range(20):
                await _calls(friend, stranger, ticking)
            ticking.cancel()
        renewing.cancel()
    _, both, new = seen
    assert both == new + old


async def _calls(
    friend: grpc.aio.Channel, stranger: grpc.aio.Channel, ticking: grpc.aio.UnaryStreamCall[bytes, bytes]
) -> None:
    await asyncio.gather(call(friend), call(stranger))
    assert await ticking.read() == b"tick"


async def _renew(mesh: Lab) -> None:
    """What the controller does."""
    while True:
        again = mesh.authority.renew(mesh.accounts, time.time())
        await asyncio.sleep(max(0.0, again - time.time()))


async def _is_refused(mesh: Lab, stranger: grpc.aio.Channel) -> bool:
    """When Envoy has read the file."""
    try:
        await call(stranger)
    except grpc.aio.AioRpcError:
        return refused(mesh, "certificate has expired")
    return False


def _file(mesh: Lab, account: str) -> Path:
    return mesh.mesh.certificates / f"{account}.pem"
