"""What listens inside the mesh speaks to nobody who has no certificate of it, or a false one."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mesh.running import RunningMesh
from tests.mesh.strangers import Door, doors, mesh_of
from tools.localmesh.authority import AUTHORITIES, Authority

pytestmark = pytest.mark.timeout(300)  # the first of all tests starts the stack

GATEWAY = "spiffe://cluster.local/ns/weft/sa/gateway"
WITHIN_S = 10.0
TTL_S = 3600.0

# HTTP/2 as a client begins it: the preface, and settings without any.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
SETTINGS = 4
ALERT = 0x15


@pytest.fixture(scope="module")
def inside(running_mesh: RunningMesh) -> list[Door]:
    """All that listens for calls from inside."""
    return doors(mesh_of(running_mesh))


async def test_plain_text(inside: list[Door], mesh: RunningMesh) -> None:
    """Nobody gets a word of HTTP without TLS."""
    for door in inside:
        with socket.create_connection(door.address, WITHIN_S) as plain:
            plain.sendall(HELLO)
            assert not speaks_http2(plain.recv(64)), door.name
    assert len(inside) == len(mesh.served_pods())


def speaks_http2(answer: bytes) -> bool:
    """Whether it begins with settings, as every server's first word does; an alert is no word."""
    return len(answer) > 3 and answer[0] != ALERT and answer[3] == SETTINGS


def good(mesh: RunningMesh, folder: Path) -> None:
    """Of the stack's own authority: the control of this experiment."""
    _own_authority(mesh, folder, TTL_S).renew({"gateway": GATEWAY}, time.time())


def another_authority(mesh: RunningMesh, folder: Path) -> None:
    """The right name, and nobody here knows who signed it."""
    Authority(folder / "own", folder, ttl_s=TTL_S).renew({"gateway": GATEWAY}, time.time())


def another_trust_domain(mesh: RunningMesh, folder: Path) -> None:
    """Signed by the stack's own authority, of a name elsewhere."""
    _own_authority(mesh, folder, TTL_S).renew({"gateway": GATEWAY.replace("cluster.local", "elsewhere")}, time.time())


def expired(mesh: RunningMesh, folder: Path) -> None:
    """The right name and signature, a minute too late."""
    _own_authority(mesh, folder, TTL_S).renew({"gateway": GATEWAY}, time.time() - TTL_S - 60)


def not_yet(mesh: RunningMesh, folder: Path) -> None:
    """The right name and signature, long before their time."""
    _own_authority(mesh, folder, TTL_S).renew({"gateway": GATEWAY}, time.time() + TTL_S)


def _own_authority(mesh: RunningMesh, folder: Path, ttl_s: float) -> Authority:
    shutil.copytree(mesh.state / "authority", folder / "own")
    return Authority(folder / "own", folder, ttl_s=ttl_s)


@pytest.mark.parametrize("certificate", [another_authority, another_trust_domain, expired, not_yet])
async def test_false_certificates(
    mesh: RunningMesh, inside: list[Door], tmp_path: Path, certificate: Callable[[RunningMesh, Path], None]
) -> None:
    """Every door takes the certificate of the stack's authority, and none takes a false one."""
    for make in (good, certificate):
        make(mesh, tmp_path / make.__name__)
    taken = await asyncio.to_thread(_takers, mesh, inside, tmp_path / "good" / "gateway.pem")
    assert taken == {door.name for door in inside}
    taken = await asyncio.to_thread(_takers, mesh, inside, tmp_path / certificate.__name__ / "gateway.pem")
    assert taken == set()


async def test_without_a_certificate(mesh: RunningMesh, inside: list[Door]) -> None:
    """TLS alone opens no door."""
    assert await asyncio.to_thread(_takers, mesh, inside, None) == set()


def _takers(mesh: RunningMesh, inside: list[Door], certificate: Path | None) -> set[str]:
    """The doors that speak HTTP to who shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names in the mesh are no host names
    context.load_verify_locations(mesh.state / "certificates" / AUTHORITIES)
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(certificate)
    return {door.name for door in inside if _takes(door, context)}


def _takes(door: Door, context: ssl.SSLContext) -> bool:
    with socket.create_connection(door.address, WITHIN_S) as plain:
        try:
            # In TLS 1.3 a client hears only after its own part whether it was believed.
            with context.wrap_socket(plain) as secure:
                secure.sendall(HELLO)
                return speaks_http2(secure.recv(64))
        except (ssl.SSLError, ConnectionError):
            return False
