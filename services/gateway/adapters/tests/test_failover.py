"""Another Redis takes over in the middle: behind the same address, after it was a replica that took no writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from libs.errors.errors import UnavailableError
from libs.ledger.accounts import Execution
from libs.ledger.ledger import RedisLedger
from libs.store.redis import connect
from libs.store.together import Together
from libs.testing.eventually import eventually
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.tests.demands import (
    PASSWORD,
    OwnRedis,
    budgets,
    clear_of_midnight,
    context,
    demand,
    sums,
    today,
)
from services.gateway.ports import Outcome

BUDGET = 20_000


class ServiceAddress:
    """One address that stands for one server at a time, as a cluster's service does."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ServiceAddress]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()

    def point_to(self, target: int) -> None:
        """Connections end; new ones go to the other server."""
        self.target = target
        self.cut()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError):
                inner_reader, inner = await asyncio.open_connection("127.0.0.1", self.target)
                await asyncio.gather(_pump(reader, inner), _pump(inner_reader, writer))
        finally:
            self._open.discard(writer)
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[OwnRedis, OwnRedis]]:
    """A server, and another that follows it."""
    servers = OwnRedis(tmp_path / "first"), OwnRedis(tmp_path / "second")
    for server, name in zip(servers, ("first", "second"), strict=True):
        (tmp_path / name).mkdir()
        await server.restart()
    first: Any
    second: Any
    async with connect(servers[0].url) as first, connect(servers[1].url) as second:
        await first.config_set("repl-diskless-sync-delay", "0")
        await second.config_set("masterauth", PASSWORD)
        await second.execute_command("REPLICAOF", "127.0.0.1", str(servers[0].port))
    yield servers
    for server in servers:
        server.stop()


async def _follows(redis: Any) -> bool:
    return int(await redis.execute_command("WAIT", 1, 100)) == 1


async def test_a_failover_changes_no_sum(pair: tuple[OwnRedis, OwnRedis], tenant: str) -> None:
    """While no server takes writes, budgets are closed; then what was reserved holds, and what services told meanwhile
    is charged once."""
    first, second = pair
    async with ServiceAddress(first.port).serving() as address:
        url = f"redis://:{PASSWORD}@127.0.0.1:{address.port}/0"
        promoted: Any
        async with connect(url) as redis, connect(second.url) as promoted:
            await clear_of_midnight(redis)
            ledger, admissions = RedisLedger(redis, within_s=0.1), RedisAdmissions(redis, Together(redis))
            asked = [demand(tenant, budgets=budgets(tenant_day_tokens=BUDGET)) for _ in range(20)]
            for one in asked:
                assert (await admissions.admit(one)).outcome is Outcome.ADMITTED
                ledger.begin(context(one), "/1")
            await eventually(lambda: ledger.waiting == 0)
            await eventually(lambda: _follows(redis))

            first.kill()
            address.point_to(second.port)
            telling = [ledger.record(context(one), Execution("/1", "small", 5, 6)) for one in asked]
            assert await asyncio.gather(*telling) == [False] * len(asked)
            for one in asked:
                await ledger.close(context(one), [])
            with pytest.raises(UnavailableError):
                await admissions.admit(demand(tenant, budgets=budgets(tenant_day_tokens=BUDGET)))
            assert ledger.waiting == 2 * len(asked)

            await promoted.execute_command("REPLICAOF", "NO", "ONE")
            await eventually(lambda: ledger.waiting == 0 and admissions.waiting == 0)
            found = await sums(promoted, tenant, await today(promoted))
            assert found["tenant:tokens:used"] == 20 * 11
            assert "tenant:tokens:reserved" not in found
            assert (await admissions.admit(demand(tenant))).outcome is Outcome.ADMITTED
            await ledger.aclose(1.0)
            await admissions.aclose(1.0)
