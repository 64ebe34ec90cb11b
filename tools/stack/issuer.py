"""Who a stack's tokens are of: the address of its issuer, and the client that it has from the start."""

import time
from collections.abc import Sequence
from pathlib import Path

from libs.auth.keys import KeyFileError
from libs.config.files import write_whole
from tools.issuer.clients import Clients
from tools.stack.part import Stack

URL_FILE = "issuer.url"
CLIENT = "developer"
SECRET_FILE = "developer.client"


def write_issuer(stack: Stack) -> None:
    """Keeps what tokens of this stack say in `iss`: the issuer is found by it (OpenID Connect Discovery)."""
    write_whole(stack.folder("keys") / URL_FILE, f"http://{stack.address('issuer')}\n")


def read_issuer(keys: Path) -> str:
    """What was kept. `KeyFileError` where nothing was."""
    try:
        return (keys / URL_FILE).read_text().strip()
    except OSError as error:
        raise KeyFileError(f"{keys / URL_FILE} cannot be read ({error.strerror}): `weft up` makes it") from None


def ensure_client(keys: Path, *, tenant: str, scopes: Sequence[str]) -> None:
    """The developer's client with these scopes, its secret in a file: as it is, or new where either is missing."""
    clients, file = Clients(keys), keys / SECRET_FILE
    client = clients.find(CLIENT)
    if client is not None:
        secret = file.read_text().strip() if file.exists() else ""
        if client.has_secret(secret) and (client.tenant, client.scopes) == (tenant, tuple(sorted(scopes))):
            return
        clients.revoke(CLIENT)
    _, secret = clients.create(CLIENT, tenant=tenant, scopes=scopes, description="made by `weft up`", now_s=time.time())
    write_whole(file, secret + "\n")
