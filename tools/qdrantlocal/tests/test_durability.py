"""What was acknowledged is there after any kind of end; and nothing is left behind."""

import asyncio
import functools
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc.aio
import psutil
import pytest
from qdrant_client import AsyncQdrantClient, models

from libs.parts.processes import PartError, RunningPart, python_environment
from libs.parts.qdrant import start_qdrant
from libs.testing.eventually import eventually

Connect = Callable[..., AbstractAsyncContextManager[AsyncQdrantClient]]
SIZE, BATCH, WRITERS, ROUNDS = 16, 16, 4, 9
STARTER = """
import pathlib, sys, time
from libs.parts.qdrant import start_qdrant
part = start_qdrant(pathlib.Path(sys.argv[1]), log=pathlib.Path(sys.argv[2]))
print(part.pid, part.address, flush=True)
time.sleep(600)
"""


def engine_pid(part: RunningPart) -> int:
    (child,) = psutil.Process(part.pid).children()
    return child.pid


def all_gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


async def until_serving(client: AsyncQdrantClient) -> None:
    async def serving() -> bool:
        try:
            await client.get_collections()
        except grpc.aio.AioRpcError:
            return False
        return True

    wanted: Callable[[], bool | Awaitable[bool]] = serving
    await eventually(wanted, within_s=20)


class Ledger:
    """Writes until it is told to stop, and knows what was acknowledged; a failed call's points are in doubt."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.deleted: set[int] = set()
        self.doubtful: set[int] = set()
        self._ids = itertools.count()
        self._random = random.Random(5)

    def holds(self, count: int) -> bool:
        return len(self.values) >= count

    async def write(self, client: AsyncQdrantClient, value: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            ids = list(itertools.islice(self._ids, BATCH))
            self.doubtful.update(ids)
            try:
                await client.upsert("docs", [self._point(one, value) for one in ids], wait=True)
                self.values.update(dict.fromkeys(ids, value))
                await client.delete("docs", points_selector=[ids[0], ids[1]], wait=True)
                for one in ids[:2]:
                    del self.values[one]
                    self.deleted.add(one)
                await client.set_payload("docs", {"value": -value}, points=[*ids[2:4]], wait=True)
                self.values.update(dict.fromkeys(ids[2:4], -value))
                self.doubtful.difference_update(ids)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)

    def _point(self, number: int, value: int) -> models.PointStruct:
        return models.PointStruct(
            id=number,
            vector={
                "dense": [self._random.gauss(0, 1) for _ in range(SIZE)],
                "bm25": models.SparseVector(indices=[number % 50], values=[1.0]),
            },
            payload={"tenant": f"t{number % 3}", "value": value},
        )

    async def check(self, client: AsyncQdrantClient) -> None:
        """Nothing acknowledged is lost or undone, and the payload index holds what the collection holds."""
        found: dict[int, int] = {}
        offset = None
        while True:
            rows, offset = await client.scroll("docs", limit=2000, offset=offset)
            for row in rows:
                assert isinstance(row.id, int)
                assert row.payload is not None
                found[row.id] = row.payload["value"]
            if offset is None:
                break
        certain = {one: value for one, value in self.values.items() if one not in self.doubtful}
        assert {one: found.get(one) for one in certain} == certain
        assert not (self.deleted - self.doubtful) & found.keys()
        tenants = [
            models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value=f"t{number}"))])
            for number in range(3)
        ]
        assert sum([(await client.count("docs", count_filter=one)).count for one in tenants]) == len(found)
        assert len((await client.query_points("docs", query=[1.0] * SIZE, using="dense")).points) == 10


async def make_docs(client: AsyncQdrantClient) -> None:
    await client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    await client.create_payload_index("docs", "tenant", field_schema=tenant)


async def test_no_acknowledged_write_is_lost_when_processes_are_killed(
    tmp_path: Path, log: Path, connect: Connect
) -> None:
    """kill -9 of the engine process, the front or both, under four writers: acknowledged writes and deletes hold."""
    ledger = Ledger()
    part = start_qdrant(tmp_path / "data", log=log)
    try:
        async with connect(part.address) as client:
            await make_docs(client)
        for number in range(1, ROUNDS + 1):
            victims = {0: [engine_pid(part)], 1: [part.pid], 2: [engine_pid(part), part.pid]}[number % 3]
            written = len(ledger.values)
            stop = asyncio.Event()
            async with connect(part.address) as client, asyncio.TaskGroup() as group:
                for _ in range(WRITERS):
                    group.create_task(ledger.write(client, number, stop))
                enough = functools.partial(ledger.holds, written + 150 * number)
                await eventually(enough, within_s=30, every_s=0.005)
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                if part.pid not in victims:
                    await until_serving(client)
                stop.set()
            if part.pid in victims:
                part.stop()
                part = start_qdrant(tmp_path / "data", log=log)
            async with connect(part.address) as client:
                await ledger.check(client)
        assert len(ledger.values) > 1000
        assert part.stop() == 0
    finally:
        part.stop()


async def test_a_restart_keeps_everything(tmp_path: Path, log: Path, connect: Connect) -> None:
    """After a stop and a start there are the same collections, indexes and points; what was deleted stays away."""
    part = start_qdrant(tmp_path / "data", log=log)
    async with connect(part.address) as client:
        await make_docs(client)
        point = models.PointStruct(id=1, vector={"dense": [1.0] * SIZE}, payload={"tenant": "t", "share": 0.5})
        await client.upsert("docs", [point], wait=False)
        await client.create_collection("gone", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
        await client.delete_collection("gone")
        before = await client.get_collection("docs")
    assert part.stop() == 0
    part = start_qdrant(tmp_path / "data", log=log)
    async with connect(part.address) as client:
        assert [one.name for one in (await client.get_collections()).collections] == ["docs"]
        assert await client.get_collection("docs") == before
        assert (await client.retrieve("docs", [1]))[0].payload == {"tenant": "t", "share": 0.5}
    assert part.stop() == 0
    assert len(list((tmp_path / "data" / "shards").iterdir())) == 1


async def test_a_start_takes_away_what_deleted_points_left(tmp_path: Path, log: Path, connect: Connect) -> None:
    """Points replaced by new ones, as ingest does it, cost no space after a restart."""
    vectors = models.VectorParams(size=512, distance=models.Distance.DOT)
    data = tmp_path / "data"

    async def restarted(work: Callable[[AsyncQdrantClient], Awaitable[object]]) -> int:
        """The bytes on the disk after the work and a stop."""
        part = start_qdrant(data, log=log)
        async with connect(part.address) as client:
            await work(client)
        assert part.stop() == 0
        return sum(path.stat().st_blocks * 512 for path in data.glob("shards/*/segments/**/*"))

    async def fill(client: AsyncQdrantClient, first: int = 0) -> None:
        points = [models.PointStruct(id=first + number, vector=[1.0] * 512) for number in range(1500)]
        await client.upsert("docs", points)

    async def replace(client: AsyncQdrantClient) -> None:
        await fill(client, 1500)
        await client.delete("docs", points_selector=list(range(1500)))

    await restarted(lambda client: client.create_collection("docs", vectors_config=vectors))
    filled = await restarted(fill)
    replaced = await restarted(replace)
    assert replaced > 1.5 * filled
    assert await restarted(lambda client: client.count("docs")) < 1.5 * filled


def test_a_second_server_on_a_folder_is_refused(server: RunningPart, tmp_path: Path, log: Path) -> None:
    """It ends with 75 and says which folder is in use; the first is not disturbed."""
    part = start_qdrant(tmp_path / "data", log=log)
    try:
        with pytest.raises(PartError) as caught:
            start_qdrant(tmp_path / "data", log=tmp_path / "second.log")
        assert "qdrant ended with exit code 75" in str(caught.value)
        assert f"{tmp_path / 'data'} is in use by another server: stop it, or choose another" in str(caught.value)
        assert part.running()
        assert part.stop() == 0
    finally:
        part.stop()


async def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path, log: Path) -> None:
    """kill -9 of what started the server ends the front and the engine process, and frees the folder."""
    data = tmp_path / "data"
    command = [sys.executable, "-c", STARTER, str(data), str(log)]
    environment = os.environ | python_environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:  # noqa: ASYNC220
        assert parent.stdout is not None
        pid, _ = parent.stdout.readline().split()
        pids = [int(pid), *(child.pid for child in psutil.Process(int(pid)).children())]
        assert len(pids) == 2
        parent.kill()
    await eventually(lambda: all_gone(pids))
    part = start_qdrant(data, log=log)
    assert part.stop() == 0


async def test_a_broken_catalogue_ends_the_start(tmp_path: Path, log: Path) -> None:
    """A catalogue that cannot be read is named; no empty one takes its place."""
    catalogue = tmp_path / "data" / "catalog.json"
    catalogue.parent.mkdir()
    catalogue.write_text("{")
    with pytest.raises(PartError, match=r"catalog\.json"):
        start_qdrant(tmp_path / "data", log=log)
    assert catalogue.read_text() == "{"
