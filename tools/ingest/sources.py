"""The files that an ingest takes: which, under which ids, read how."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 2 << 20
"""The largest content of a document: the bound of `IngestDocumentRequest.content`."""

SUFFIXES = {".txt": "plain", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"}
"""How a file is read, by its suffix."""


@dataclass(frozen=True)
class Source:
    """A file to ingest. `kind` is "plain", "markdown" or "html"."""

    path: Path
    document_id: str
    kind: str


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and why."""

    path: Path
    why: str


def find_sources(paths: Iterable[Path]) -> Iterator[Source | Skipped]:
    """Every file under `paths`, each once, in the order of the paths and by name below a folder.

    Hidden files and folders below a folder are passed over without a word, so that a checkout's `.git` is no list of
    complaints; a file that is named itself is taken or told of. Links to folders are not followed.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files: Iterable[Path] = _files_below(path)
        else:
            files = [path]
        for file in files:
            real = file.resolve()
            if real not in seen:
                seen.add(real)
                yield _source(real, shown=file)


def document_id(path: Path) -> str:
    """The id of the document at an absolute path: readable, and unlike that of any other path.

    It ends in 48 bits of the path's SHA-256, so that the same file keeps its id from wherever it is ingested.
    """
    words = re.findall(r"[A-Za-z0-9]+", "/".join(path.parts[-2:]).lower())
    readable = "-".join(words)[-100:].strip("-")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return f"{readable}-{digest}" if readable else digest


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _source(path: Path, shown: Path) -> Source | Skipped:
    kind = SUFFIXES.get(path.suffix.lower())
    if not path.exists():
        return Skipped(shown, "there is no such file")
    if not path.is_file():
        return Skipped(shown, "not a regular file")
    if not _is_utf8(path):
        return Skipped(shown, "its path is not UTF-8: rename it")
    if kind is None:
        return Skipped(shown, f"the suffix is none of {', '.join(sorted(SUFFIXES))}")
    size = path.stat().st_size
    if size == 0:
        return Skipped(shown, "empty")
    if size > MAX_BYTES:
        return Skipped(shown, f"{size / (1 << 20):.1f} MiB is more than a document's 2 MiB: split it")
    return Source(path, document_id(path), kind)


def _is_utf8(path: Path) -> bool:
    """Whether the path can stand in a message; a Linux file name may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
