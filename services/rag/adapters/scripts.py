"""The catalogue's scripts in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis

from libs.store import redis as redis_store

_SCRIPTS = (
    "create_collection",
    "delete_collection",
    "delete_document",
    "list_documents",
    "begin_version",
    "abandon_version",
    "make_current",
    "keep_answer",
    "claim_garbage",
    "stamp_collection",
)


class Scripts:
    """The scripts by the names of their files in `lua/`. Each runs whole or not at all, beside nothing else."""

    def __init__(self, redis: Redis) -> None:
        ledger = _source("ledger")
        self._scripts = {name: redis.register_script(ledger + _source(name)) for name in _SCRIPTS}

    async def returned(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What a script returns. Raises UnavailableError."""
        return await reached(self._scripts[name](keys=keys, args=arguments))

    async def run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], *, otherwise: Any = b""
    ) -> tuple[str, Any]:
        """The status that a script returns, and what it says besides. Raises UnavailableError."""
        status, *rest = await self.returned(name, keys, arguments)
        return status.decode(), rest[0] if rest else otherwise


async def reached(command: Any) -> Any:
    """What a command returns (redis-py types the same methods for both of its clients, so: Any). Raises
    UnavailableError where Redis was not reached or cannot serve right now."""
    return await redis_store.reached(command)


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text()
