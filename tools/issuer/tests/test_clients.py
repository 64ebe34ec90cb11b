"""The file of clients: whole, hashed, one change at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools.issuer.clients import FILE, ClientError, Clients


def create(clients: Clients, client_id: str = "worker", tenant: str = "acme") -> str:
    return clients.create(client_id, tenant=tenant, scopes=["b", "a", "b"], description="why", now_s=0)[1]


def test_a_client_is_kept_without_its_secret(tmp_path: Path) -> None:
    """The file has what it may and a hash; the secret is told once."""
    clients = Clients(tmp_path)
    secret = create(clients)
    (client,) = Clients(tmp_path).all()
    assert (client.client_id, client.tenant, client.scopes) == ("worker", "acme", ("a", "b"))
    assert (client.description, client.create_time) == ("why", "1970-01-01T00:00:00Z")
    assert (client.has_secret(secret), client.has_secret(secret[:-1]), client.has_secret("")) == (True, False, False)
    assert secret not in (tmp_path / FILE).read_text()


def test_a_revoked_client_is_gone(tmp_path: Path) -> None:
    """The others stay, by their id; one that is not there is told so."""
    clients = Clients(tmp_path)
    for name in ("b", "a", "c"):
        create(clients, name)
    clients.revoke("b")
    assert [client.client_id for client in clients.all()] == ["a", "c"]
    with pytest.raises(ClientError, match="no client 'b'"):
        clients.revoke("b")


@pytest.mark.parametrize("name", ["", "a b", "-a", "key:a", "a/b", "a" * 64, "\u00e4"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """It becomes a token's subject and stands in a URL."""
    with pytest.raises(ClientError, match="not a client's name"):
        create(Clients(tmp_path), name)


def test_a_bad_tenant_is_refused(tmp_path: Path) -> None:
    """No token could be signed for it."""
    with pytest.raises(ClientError, match="not a tenant's name"):
        create(Clients(tmp_path), tenant="a/b")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """The second one is refused, and the first keeps its secret."""
    clients = Clients(tmp_path)
    secret = create(clients)
    with pytest.raises(ClientError, match="already"):
        create(clients)
    found = clients.find("worker")
    assert found is not None
    assert found.has_secret(secret)


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Each change waits for the one before."""
    names = [f"client-{number:02}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: create(Clients(tmp_path), name), names))
    assert [client.client_id for client in Clients(tmp_path).all()] == names


@pytest.mark.parametrize("content", ["", "{", "[]", '{"clients": [{"client_id": "a"}]}'])
def test_a_spoilt_file_is_named(tmp_path: Path, content: str) -> None:
    """With the remedy; nothing is written over it."""
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ClientError, match=f"{FILE}.*delete it"):
        create(Clients(tmp_path))
    assert (tmp_path / FILE).read_text() == content
