"""Scripts of the tests."""

from __future__ import annotations

import hashlib

from libs.store.scripts import Script


def script(source: str) -> Script:
    """As one that was read from a file."""
    return Script("test", source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
