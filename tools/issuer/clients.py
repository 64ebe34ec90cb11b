"""The OAuth2 clients of a local stack: a file with what each may, and the hash of its secret."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from libs.auth.tokens import is_tenant
from libs.config.files import write_whole

FILE = "clients.json"
MAX_CLIENTS = 1000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class ClientError(RuntimeError):
    """What was asked of the clients cannot be done; the message says why."""


@dataclass(frozen=True)
class Client:
    """A client of one tenant. Its tokens have `client_id` as their subject. `create_time` is RFC 3339."""

    client_id: str
    tenant: str
    scopes: tuple[str, ...]
    description: str
    create_time: str
    secret_sha256: str

    def has_secret(self, secret: str) -> bool:
        """Whether this is its secret; takes as long for a wrong one."""
        return hmac.compare_digest(_hash(secret), self.secret_sha256)


class Clients:
    """The clients in a folder of keys. Each change replaces the file as a whole, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / FILE

    def all(self) -> tuple[Client, ...]:
        """By their id. Raises ClientError where the file cannot be read as such."""
        try:
            entries = json.loads(self._file.read_text())["clients"]
            found = [Client(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in entries]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClientError(
                f"{self._file} is not a file of clients ({error}): delete it, and make new ones"
            ) from None
        return tuple(sorted(found, key=lambda client: client.client_id))

    def find(self, client_id: str) -> Client | None:
        """The client of this id, as the file is now."""
        return next((client for client in self.all() if client.client_id == client_id), None)

    def create(
        self, client_id: str, *, tenant: str, scopes: Sequence[str], description: str = "", now_s: float
    ) -> tuple[Client, str]:
        """The client and its secret, which is in no file. Raises ClientError for a bad id or one that is taken."""
        if _ID.fullmatch(client_id) is None:
            raise ClientError(
                f"{client_id!r} is not a client's name: 1 to 63 letters, digits, dots, hyphens and underscores"
            )
        if not is_tenant(tenant):
            raise ClientError(
                f"{tenant!r} is not a tenant's name: 1 to 63 letters and digits, dots, hyphens and underscores between"
            )
        with self._changing():
            before = self.all()
            if any(client.client_id == client_id for client in before):
                raise ClientError(f"there is a client {client_id!r} already: choose another name, or revoke it first")
            if len(before) >= MAX_CLIENTS:
                raise ClientError(f"there are {MAX_CLIENTS} clients: revoke one first")
            secret = secrets.token_urlsafe(32)
            made = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            client = Client(client_id, tenant, tuple(sorted(set(scopes))), description, made, _hash(secret))
            self._write((*before, client))
        return client, secret

    def revoke(self, client_id: str) -> Client:
        """Ends a client: it gets no token any more. Raises ClientError where there is none."""
        with self._changing():
            before = self.all()
            ended = next((client for client in before if client.client_id == client_id), None)
            if ended is None:
                raise ClientError(f"there is no client {client_id!r}")
            self._write([client for client in before if client is not ended])
        return ended

    def _write(self, clients: Sequence[Client]) -> None:
        write_whole(self._file, json.dumps({"clients": [asdict(client) for client in clients]}, indent=2) + "\n")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        lock = os.open(self._folder / f".{FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
