"""Who a stack's tokens are of, and the client that its developer has."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from libs.auth.key_sources import FileKeys
from libs.auth.keys import KeyFileError
from libs.auth.verifier import Issuer, TokenVerifier
from tools.issuer.clients import Clients
from tools.stack.issuer import CLIENT, SECRET_FILE, ensure_client, read_issuer, write_issuer
from tools.stack.part import AUDIENCE, Stack
from tools.stack.tokens import stack_token


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    return folder


def token(keys: Path) -> str:
    return stack_token(keys, subject="kim", tenant="acme", scopes=["rag.read"], ttl_s=60)


async def test_tokens_are_of_the_issuer_that_can_be_asked(keys: Path) -> None:
    """A stack's `iss` is the address of its issuer part: standard clients find it by discovery."""
    write_issuer(Stack(keys.parent, {"issuer": 7704}))
    assert read_issuer(keys) == "http://127.0.0.1:7704"
    text = token(keys)
    verifier = TokenVerifier([Issuer("http://127.0.0.1:7704", AUDIENCE, FileKeys(keys / "jwks.json"))])
    told = await verifier.verify(text, time.time())
    assert (told.subject, told.tenant, told.scopes) == ("kim", "acme", frozenset({"rag.read"}))


def test_without_a_stack_there_is_no_token(keys: Path) -> None:
    """Of keys that no stack was started with, the error says what makes them."""
    with pytest.raises(KeyFileError, match="weft up"):
        token(keys)


def test_the_developers_client_stays(keys: Path) -> None:
    """Each start finds it as it is, its secret in a file; where one is lost, or it may something else, it is new."""
    file, clients = keys / SECRET_FILE, Clients(keys)

    def ensured(*scopes: str) -> str:
        ensure_client(keys, tenant="local", scopes=scopes)
        client = clients.find(CLIENT)
        secret = file.read_text().strip()
        assert client is not None
        assert client.has_secret(secret)
        assert client.scopes == tuple(sorted(scopes))
        return secret

    first = ensured("b", "a")
    assert ensured("a", "b") == first
    second = ensured("a", "b", "c")
    assert second != first
    file.unlink()
    third = ensured("a", "b", "c")
    assert third != second
    clients.revoke(CLIENT)
    assert ensured("a", "b", "c") != third
