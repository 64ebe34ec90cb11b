"""Which files an ingest takes."""

import os
import re
from pathlib import Path

from tools.ingest.sources import MAX_BYTES, Skipped, Source, document_id, find_sources

DOCUMENT_ID = re.compile(r"^[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*$")


def test_files_below_a_folder_come_sorted_and_once(tmp_path: Path) -> None:
    """A file that is reached twice is ingested once; what is hidden is passed over; the rest is told of."""
    for name in ("b.md", "a.txt", "sub/c.html", ".git/d.md", "e.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    os.symlink(tmp_path / "a.txt", tmp_path / "z.txt")

    found = list(find_sources([tmp_path, tmp_path / "b.md"]))

    assert [(item.path.name, type(item)) for item in found] == [
        ("a.txt", Source),
        ("b.md", Source),
        ("e.pdf", Skipped),
        ("c.html", Source),
    ]


def test_what_cannot_be_a_document_is_skipped_with_a_reason(tmp_path: Path) -> None:
    """A missing, an empty, an over-large and an unspeakable file each say why they are left out."""
    (tmp_path / "empty.md").touch()
    (tmp_path / "large.md").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "latin-\udce9.md").write_text("text")
    paths = [tmp_path / name for name in ("missing.md", "empty.md", "large.md", "latin-\udce9.md")]

    assert list(find_sources(paths)) == [
        Skipped(paths[0], "there is no such file"),
        Skipped(paths[1], "empty"),
        Skipped(paths[2], "2.0 MiB is more than a document's 2 MiB: split it"),
        Skipped(paths[3], "its path is not UTF-8: rename it"),
    ]


def test_ids_are_valid_distinct_and_stable() -> None:
    """Any path gives a valid id of at most 200 characters, and different paths give different ids."""
    paths = [Path(text) for text in ("/a/b.md", "/a-b.md", "/a/b/.md", "/…/ß.txt", "/x/" + "y" * 255, "/a b/c..d.md")]
    ids = [document_id(path) for path in paths]

    assert [name for name in ids if not DOCUMENT_ID.match(name) or len(name) > 200] == []
    assert len(set(ids)) == len(paths)
    assert document_id(Path("/a/b.md")) == "a-b-md-" + ids[0][-12:]
