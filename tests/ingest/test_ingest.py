"""`weft ingest` through a whole stack: killed, repeated, and given files that are none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import weft.client
from libs.testing.eventually import eventually
from tests.commands import run_weft, start_weft
from tests.conftest import RunningStack
from tests.ingest.corpus import documents, essence, stored_passages, write_corpus
from tools.ingest.sources import document_id
from weft.rag.v1 import document_service_pb2, search_service_pb2

TENANT = "ingest"
FILES = 60
SWEPT_WITHIN_S = 60.0  # the sweeper leaves what is replaced for 10 s, for searches that are under way


@pytest.fixture(scope="module")
async def client(stack: RunningStack) -> AsyncIterator[weft.client.Client]:
    """Of a tenant of its own."""
    async with weft.client.connect(stack.address, token=stack.token(tenant=TENANT)) as connected:
        yield connected


@pytest.fixture(scope="module")
def tenant(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `weft` is that tenant."""
    token_file = tmp_path_factory.mktemp("tenant") / "token"
    token_file.write_text(stack.token(tenant=TENANT))
    return {"WEFT_TOKEN_FILE": str(token_file)}


@pytest.fixture(scope="module")
def qdrant_key(stack: RunningStack) -> str:
    """What opens the stack's Qdrant."""
    return (stack.stack.folder("keys") / "qdrant.key").read_text().strip()


async def test_a_killed_ingest_is_finished_by_the_next(
    stack: RunningStack, client: weft.client.Client, tenant: dict[str, str], qdrant_key: str, tmp_path: Path
) -> None:
    """Killed half-way and run again, it ends in the same state as one clean run, down to the passages in Qdrant."""
    state, folder = stack.stack.state, tmp_path / "reports"
    write_corpus(folder, FILES)
    with start_weft(state, "ingest", str(folder), "--collection", "killed", **tenant) as ingesting:

        async def some() -> bool:
            return len(await documents(client, "killed")) >= FILES // 4

        await eventually(some, within_s=60)
        ingesting.kill()
    had = await documents(client, "killed")
    runs = [
        run_weft(state, "ingest", str(folder), "--collection", name, **tenant) for name in ("killed", "clean", "killed")
    ]
    killed, clean = await documents(client, "killed"), await documents(client, "clean")

    assert FILES // 4 <= len(had) < FILES
    assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 3
    assert runs[1].stdout == f"clean: {FILES} created, 0 replaced, 0 unchanged, 0 failed, 0 skipped\n"
    assert runs[2].stdout == f"killed: 0 created, 0 replaced, {FILES} unchanged, 0 failed, 0 skipped\n"
    assert len(clean) == FILES
    assert all(document.passage_count > 1 for document in clean if document.source_uri.endswith((".md", ".html")))
    assert essence(killed) == essence(clean)
    passages = sum(document.passage_count for document in (*killed, *clean))

    async def only_the_current() -> bool:
        return await stored_passages(stack.stack.address("qdrant"), qdrant_key, TENANT) == passages

    began_s = time.monotonic()
    await eventually(only_the_current, within_s=SWEPT_WITHIN_S, every_s=0.2)
    print(f"swept within {time.monotonic() - began_s:.1f} s; {len(had)} of {FILES} documents were there at the kill")


async def test_bad_files_are_told_and_the_others_taken(
    stack: RunningStack, client: weft.client.Client, tenant: dict[str, str], tmp_path: Path
) -> None:
    """Each is named with its reason; the exit code is 1 if a file failed or is missing, else 0."""
    folder = tmp_path / "mixed"
    write_corpus(folder, 3)
    (folder / "latin1.md").write_bytes("Gr\xfc\xdfe".encode("latin-1"))
    (folder / "wordless.html").write_text("<script>let x = 1</script>")
    (folder / "empty.txt").touch()
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7")
    (folder / "huge.txt").write_bytes(b"word " * (2 << 18))
    missing = tmp_path / "missing.md"
    mixed = run_weft(stack.stack.state, "ingest", str(folder), str(missing), "--collection", "mixed", **tenant)
    told = dict(line.split(": ", 1) for line in mixed.stderr.splitlines())

    assert mixed.returncode == 1
    assert mixed.stdout == "mixed: 3 created, 0 replaced, 0 unchanged, 2 failed, 4 skipped\n"
    assert told == {
        f"skipped {folder / 'empty.txt'}": "empty",
        f"skipped {folder / 'huge.txt'}": "2.5 MiB is more than a document's 2 MiB: split it",
        f"skipped {folder / 'paper.pdf'}": "the suffix is none of .htm, .html, .markdown, .md, .txt",
        f"skipped {missing}": "there is no such file",
        f"failed {folder / 'latin1.md'}": "content: byte 2 is not UTF-8; convert the content to UTF-8",
        f"failed {folder / 'wordless.html'}": ("content: has no text when read as text/html; check the media type"),
    }
    assert len(await documents(client, "mixed")) == 3
    for name in ("latin1.md", "wordless.html"):
        (folder / name).unlink()
    only_skipped = run_weft(stack.stack.state, "ingest", str(folder), "--collection", "mixed", **tenant)
    assert only_skipped.returncode == 0, only_skipped.stderr


async def test_a_replaced_and_a_deleted_document(
    stack: RunningStack, client: weft.client.Client, tenant: dict[str, str], tmp_path: Path
) -> None:
    """From the answer on, no search finds the old text of a replaced file, nor anything of a deleted one."""
    file = tmp_path / "harbour.md"

    async def found(query: str) -> list[str]:
        request = search_service_pb2.SearchRequest(collection="changing", query=query, top_k=100)
        return [passage.text for passage in (await client.search.Search(request)).passages]

    for at in range(3):
        file.write_text(f"# Harbour\n\nThe lighthouse keeper number {at} paints the tower every spring.\n")
        ingested = run_weft(stack.stack.state, "ingest", str(file), "--collection", "changing", **tenant)
        texts = await found("Who paints the tower?")
        assert ingested.returncode == 0, ingested.stderr
        assert texts == [f"The lighthouse keeper number {at} paints the tower every spring."]
    await client.documents.DeleteDocument(
        document_service_pb2.DeleteDocumentRequest(collection="changing", document_id=document_id(file.resolve()))
    )
    assert await found("Who paints the tower?") == []
