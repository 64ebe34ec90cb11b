"""The life of a whole stack: what it weighs, what comes back when it dies, what is left when it ends.

Tests share one stack while it runs; the one that ends it leaves it to the next one to start it again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import weft.client
from libs.testing.eventually import eventually
from tests.ingest.corpus import documents, essence, stored_passages, write_corpus, write_long_document
from tests.lifecycle.whole_stack import READY_WITHIN_S, WholeStack
from tools.stack.setup import QUESTION, SAMPLE_COLLECTION, TENANT
from tools.stack.snapshot import read_snapshot
from weft.rag.v1 import collection_service_pb2, document_service_pb2

MOST_MEMORY_BYTES = int(1.2 * (1 << 30))
MIB = 1 << 20
FILES = 30
HALF_WRITTEN = 60  # passages: more than the small files under way have together


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    """A stack that runs from the first `up` on."""
    stack = WholeStack(tmp_path_factory.mktemp("whole") / "state")
    yield stack
    stack.run("down")
    assert stack.left_processes() == []


def asked(whole: WholeStack) -> str:
    """An answer with its sources, at once."""
    done = whole.run("ask", "--collection", SAMPLE_COLLECTION, QUESTION)
    assert done.returncode == 0, done.stderr
    assert "\nSources:\n[1]" in done.stdout, done.stdout
    return done.stdout


async def contents(whole: WholeStack) -> list[object]:
    """Every collection with all of its documents, their versions and times."""
    async with weft.client.connect(whole.entry, token=whole.key("developer.token")) as client:
        listed = await client.collections.ListCollections(collection_service_pb2.ListCollectionsRequest())
        return [(collection, await documents(client, collection.name)) for collection in listed.collections]


def test_an_idle_stack_is_light(whole: WholeStack) -> None:
    """A stack that has its sample and has answered once takes at most 1.2 GiB, by `weft status`."""
    whole.up()
    asked(whole)
    status = whole.status()
    for part in [*status["parts"], {"name": "supervisor", **status["supervisor"]}]:
        print(f"{part['name']:<10} {part['memory_bytes'] / MIB:7.1f} MiB")
    print(f"{'total':<10} {status['memory_bytes'] / MIB:7.1f} MiB")

    assert all(part["memory_bytes"] > MIB for part in status["parts"])
    assert status["memory_bytes"] <= MOST_MEMORY_BYTES


async def test_rag_is_killed_in_the_midst_of_an_ingest(whole: WholeStack, tmp_path: Path) -> None:
    """It is restarted; the ingest, run again, ends as an undisturbed one, and what was half-written is swept."""
    before = whole.part("rag", whole.up())
    folder = tmp_path / "reports"
    write_corpus(folder, FILES)
    write_long_document(folder / "report-010-long.md")
    async with weft.client.connect(whole.entry, token=whole.key("developer.token")) as client:

        async def stored() -> int:
            return await stored_passages(whole.address("qdrant"), whole.key("qdrant.key"), TENANT)

        async def current() -> int:
            found = [await documents(client, name) for name in (SAMPLE_COLLECTION, "disturbed", "clean")]
            return sum(document.passage_count for each in found for document in each)

        async def half_written() -> bool:
            return await stored() - await current() >= HALF_WRITTEN and bool(await documents(client, "disturbed"))

        with whole.start("ingest", str(folder), "--collection", "disturbed") as ingesting:
            await eventually(half_written, within_s=60)
            os.kill(before["pid"], signal.SIGKILL)
            ingesting.communicate(timeout=60)  # its client's retries may even finish it
        after = await whole.eventually_restarted("rag", before["restarts"] + 1)
        again = whole.run("ingest", str(folder), "--collection", "disturbed")
        clean = whole.run("ingest", str(folder), "--collection", "clean")
        disturbed, wanted = await documents(client, "disturbed"), await documents(client, "clean")

        assert (after["state"], after["address"]) == ("ready", before["address"])
        assert after["pid"] != before["pid"]
        assert (again.returncode, clean.returncode) == (0, 0), again.stderr + clean.stderr
        assert len(wanted) == FILES + 1
        assert essence(disturbed) == essence(wanted)

        async def swept() -> bool:
            return await stored() == await current()

        await eventually(swept, within_s=30, every_s=0.2)


async def test_triton_is_killed(whole: WholeStack) -> None:
    """It is restarted, `status` says so, and the same question has the same answer: no collection is lost."""
    before = whole.part("triton", whole.up())
    answer, had = asked(whole), await contents(whole)
    os.kill(before["pid"], signal.SIGKILL)
    after = await whole.eventually_restarted("triton", before["restarts"] + 1)

    assert (after["state"], after["address"]) == ("ready", before["address"])
    assert after["pid"] != before["pid"]
    assert asked(whole) == answer
    assert await contents(whole) == had


async def test_all_parts_are_killed(whole: WholeStack) -> None:
    """All at once: each is restarted at its address, and what had been acknowledged is there."""
    before = whole.up()["parts"]
    answer, had = asked(whole), await contents(whole)
    for part in before:
        os.kill(part["pid"], signal.SIGKILL)
    for part in before:
        after = await whole.eventually_restarted(part["name"], part["restarts"] + 1)
        assert (after["state"], after["address"]) == ("ready", part["address"])

    assert asked(whole) == answer
    assert await contents(whole) == had


async def test_what_is_stopped_goes_on_where_it_was(whole: WholeStack) -> None:
    """`down` and Ctrl-C leave nothing behind but the data: the next `up` finds it and ingests no sample again."""
    whole.up()
    async with weft.client.connect(whole.entry, token=whole.key("developer.token")) as client:
        for document in (await documents(client, SAMPLE_COLLECTION))[:1]:
            await client.documents.DeleteDocument(
                document_service_pb2.DeleteDocumentRequest(
                    collection=SAMPLE_COLLECTION, document_id=document.document_id
                )
            )
    had = await contents(whole)
    whole.remember_processes()
    down = whole.run("down")
    assert down.returncode == 0, down.stderr
    await whole.eventually_nothing_is_left()

    with whole.start("up") as foreground:
        await eventually(lambda: whole.status()["ready"], within_s=READY_WITHIN_S, every_s=0.2)
        assert await contents(whole) == had
        asked(whole)
        whole.remember_processes()
        foreground.send_signal(signal.SIGINT)
        _, told = foreground.communicate(timeout=60)
    assert (foreground.returncode, told.splitlines()[-1]) == (0, "Stopped.")
    await whole.eventually_nothing_is_left()


async def test_a_killed_supervisor_leaves_nothing(whole: WholeStack) -> None:
    """After kill -9 of the supervisor every process of the stack ends, and `status` says that it is stopped."""
    whole.up()
    whole.remember_processes()
    snapshot = read_snapshot(whole.state)
    assert snapshot
    os.kill(snapshot.supervisor_pid, signal.SIGKILL)
    await whole.eventually_nothing_is_left()

    status = whole.status()
    assert (status["ready"], status["phase"], status["supervisor"]["pid"]) == (False, "stopped", None)
    assert {part["state"] for part in status["parts"]} == {"stopped"}
