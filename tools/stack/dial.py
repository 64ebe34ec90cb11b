"""How a stack's own users dial it."""

from __future__ import annotations

from pathlib import Path

import weft.client


def connect(entry: str, token: str, certificate: Path | None) -> weft.client.Client:
    """A client at `entry` (host:port); with TLS, and believing this very certificate, where there is one."""
    if certificate is None:
        return weft.client.connect(entry, token=token)
    from tools.stack.certificate import name_to_ask_for

    name = name_to_ask_for(certificate)
    return weft.client.connect(entry, token=token, ca_file=certificate, server_name=name)
