"""How commands reach a gateway: a stack's own, or one that is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import weft.client

AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", envvar="WEFT_ADDRESS", help="A gateway other than the stack's."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="WEFT_TOKEN_FILE",
        help="A token, or an API key, other than the stack developer's token.",
    ),
]


_TOKEN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}|weft_[A-Za-z0-9._-]+_[A-Za-z0-9]+_[A-Za-z0-9]+")


@dataclass(frozen=True)
class Access:
    """Where the gateway is, and the caller's token or API key. `certificate` is what the gateway is known by where that
    is no authority of the system's."""

    address: str
    token: str
    certificate: Path | None = None

    def connect(self) -> weft.client.Client:
        from tools.stack.dial import connect

        return connect(self.address, self.token, self.certificate)


class AccessError(RuntimeError):
    """There is no gateway or no token to use; the message says what to do."""


def access(state: Path, address: str | None, token_file: Path | None) -> Access:
    """What is named; for what is not, the stack on `state`. Raises AccessError."""
    from tools.stack.setup import TOKEN_FILE

    token = _read_token(token_file or state / "keys" / TOKEN_FILE)
    return Access(address, token) if address else _of_stack(state, token)


def _of_stack(state: Path, token: str) -> Access:
    from tools.stack.snapshot import read_snapshot

    snapshot = read_snapshot(state)
    if snapshot is None or snapshot.phase not in ("starting", "up"):
        raise AccessError(f"no stack is running on {state}: start it with `weft up`, or name a gateway with --address")
    return Access(snapshot.entry, token, Path(snapshot.certificate) if snapshot.certificate else None)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"cannot read a token from {path} ({error}): name one with --token-file") from None
    if _TOKEN.fullmatch(token) is None:
        raise AccessError(
            f"{path} does not hold a token, one line of `weft token`, or an API key: name one with --token-file"
        )
    return token
