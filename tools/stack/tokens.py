"""Tokens signed with a stack's own key."""

import time
from collections.abc import Iterable
from pathlib import Path

from libs.auth.keys import create_keys
from libs.auth.tokens import sign_token
from libs.contracts.policies import methods
from tools.stack.issuer import read_issuer
from tools.stack.part import AUDIENCE


def all_scopes() -> tuple[str, ...]:
    """Every scope that some method needs, sorted."""
    return tuple(sorted({scope for method in methods().values() for scope in method.scopes}))


def stack_token(keys_folder: Path, *, subject: str, tenant: str, scopes: Iterable[str], ttl_s: float) -> str:
    """A token that the stack's gateway accepts from now on. `ValueError` for a scope that no method needs.

    `KeyFileError` where no stack was started with these keys yet.
    """
    wanted = tuple(scopes)
    if unknown := sorted(set(wanted) - set(all_scopes())):
        raise ValueError(f"no method needs the scope {unknown[0]!r}; scopes are {', '.join(all_scopes())}")
    keys = create_keys(keys_folder)
    return sign_token(
        keys.signing_key_file.read_bytes(),
        keys.key_id,
        subject=subject,
        tenant=tenant,
        scopes=wanted,
        ttl_s=ttl_s,
        issuer=read_issuer(keys_folder),
        audience=AUDIENCE,
        now_s=time.time(),
    )
