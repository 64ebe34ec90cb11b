"""Callers of a whole stack by REST, where users dial."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import RunningStack

TENANT = "edge"
COLLECTION = "tides"
CONTENT = b"# Tides\n\nSpring tides come at new moon and at full moon. Neap tides come a week later.\n"


@pytest.fixture(scope="session")
def entry(stack: RunningStack) -> str:
    """What users dial, host:port: the mesh's own edge."""
    return stack.address


@pytest.fixture(scope="session")
def token(stack: RunningStack) -> str:
    """With every scope."""
    return stack.token(tenant=TENANT)


@pytest.fixture(scope="session")
async def rest(entry: str, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Calls with a token, unless a call says otherwise."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://{entry}", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
async def stranger(entry: str) -> AsyncIterator[httpx.AsyncClient]:
    """Calls without a token."""
    async with httpx.AsyncClient(base_url=f"http://{entry}", timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
async def collection(rest: httpx.AsyncClient) -> str:
    """The path of a collection with a document about tides."""
    path = f"/v1/collections/{COLLECTION}"
    made = await rest.post("/v1/collections", json={"collection": COLLECTION})
    assert made.status_code == 200, made.text
    body = {"mediaType": "MEDIA_TYPE_MARKDOWN", "content": base64.b64encode(CONTENT).decode()}
    put = await rest.put(f"{path}/documents/tides.md", json=body)
    assert put.status_code == 200, put.text
    return path
