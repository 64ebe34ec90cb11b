"""Lua scripts in Redis. Each runs whole or not at all, beside nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from libs.store.redis import reached
from libs.store.together import Together


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the digest by which Redis knows it."""

    name: str
    source: str
    sha: str

    async def __call__(self, together: Together, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """What the script returns; in one round trip, or two where Redis does not know it yet.

        Raises UnavailableError where Redis was not reached: then it may have run.
        """
        return await reached(self._run(together, keys, arguments))

    async def _run(self, together: Together, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        try:
            return await together.send("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await together.send("EVAL", self.source, len(keys), *keys, *arguments)


def read_script(package: str, name: str, prelude: str = "") -> Script:
    """The script in the file `lua/NAME.lua` of a package, with `prelude` before it."""
    source = prelude + read_lua(package, name)
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def read_lua(package: str, name: str) -> str:
    """The text of the file `lua/NAME.lua` of a package."""
    return resources.files(package).joinpath("lua", f"{name}.lua").read_text()
