"""What a stack needs once: Triton and its models, keys and passwords, a developer's token, the sample collection."""

import os
import secrets
import shlex
from pathlib import Path

from libs.config.files import write_whole
from libs.parts.cache import Progress
from libs.parts.install import REPOSITORY_ROOT
from tools.stack.part import DEFAULT_STATE, Stack

SECRETS = ("redis.password", "qdrant.key")
TOKEN_FILE = "developer.token"
TENANT = "local"
SUBJECT = "developer"
TOKEN_TTL_S = 30 * 24 * 3600
WHO_AM_I = "weft.gateway.v1.IdentityService/WhoAmI"
QUESTION = "How does Weft keep a deleted document out of search results?"


def prepare(stack: Stack, progress: Progress) -> None:
    """Installs Triton and its models; makes the stack's keys, and a new token for its developer."""
    from libs.parts.triton import ensure_triton
    from tools.stack.tokens import all_scopes, stack_token

    ensure_triton(progress)
    progress("keys and token", 0.0)
    folder = stack.folder("keys")
    token = stack_token(folder, subject=SUBJECT, tenant=TENANT, scopes=all_scopes(), ttl_s=TOKEN_TTL_S)
    write_whole(folder / TOKEN_FILE, token + "\n")
    for name in SECRETS:
        if not (folder / name).exists():
            write_whole(folder / name, secrets.token_urlsafe(32) + "\n")
    progress("keys and token", 1.0)


def first_use(stack: Stack, progress: Progress) -> None:
    """Ingests the sample collection, once for a state folder."""


def hints(stack: Stack) -> str:
    """Lines that work as they are printed, from the folder in which they are printed."""
    weft = _from_here(REPOSITORY_ROOT / "weft")
    state = "" if stack.state == DEFAULT_STATE else f" --state {_from_here(stack.state)}"
    token = _from_here(stack.folder("keys") / TOKEN_FILE)
    gateway = stack.address("gateway")
    return "\n".join(
        [
            f"Weft is ready. The gateway is at {gateway} (gRPC without TLS). Try:",
            f'  {weft} ask{state} "{QUESTION}"',
            f'  grpcurl -plaintext -H "authorization: Bearer $(cat {token})" {gateway} {WHO_AM_I}',
        ]
    )


def _from_here(path: Path) -> str:
    """Relative where that is shorter, quoted for a shell; a program in this folder needs its "./"."""
    relative = os.path.relpath(path)
    shortest = str(path) if relative.startswith("..") else relative
    return shlex.quote(shortest if "/" in shortest else f"./{shortest}")
