"""All that is derived from the contracts beside the stubs: one text file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tools.protos.generate import PROTO, ROOT, STUBS, differences, replace
from tools.protos.mesh_timeouts import FILE, mesh_timeouts
from tools.protos.openapi import FILE as DESCRIPTION
from tools.protos.openapi import openapi
from tools.protos.reference import PAGE, reference
from tools.protos.service_config import CONFIG, service_config
from tools.protos.transcoding import FILE as TRANSCODING
from tools.protos.transcoding import transcoding

TEXTS: Mapping[Path, Callable[[Path], str]] = {
    PAGE: reference,
    CONFIG: service_config,
    FILE: mesh_timeouts,
    DESCRIPTION: openapi,
    TRANSCODING: transcoding,
}
"""What each derived file holds, made from the folder of contracts."""


def stale() -> list[str]:
    """What of all that is derived is not what the contracts say, a line a file; empty when nothing."""
    texts = [path for path, text in TEXTS.items() if not path.exists() or path.read_text() != text(PROTO)]
    return differences(PROTO, STUBS) + [f"stale: {path.relative_to(ROOT)}" for path in texts]


def rewrite() -> None:
    """Makes all that is derived what the contracts say."""
    replace(PROTO, STUBS)
    for path, text in TEXTS.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(PROTO))
