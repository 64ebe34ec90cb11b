"""Which files make up the rules, and when they have changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from libs.config.files import FileStamp, file_stamp
from tools.localmesh.documents import SUFFIXES

EVERY_S = 0.1

Stamps = Mapping[Path, FileStamp]


def stamps(folders: Iterable[Path], files: Iterable[Path]) -> Stamps:
    """Of all YAML files in the folders, however deep, and of these files, whether they are there or not."""
    found = {path: file_stamp(path) for path in files}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            found |= {path: file_stamp(path) for name in names if (path := Path(parent, name)).suffix in SUFFIXES}
    return found


async def changes(folders: Iterable[Path], files: Iterable[Path], known: Stamps) -> AsyncIterator[Stamps]:
    """New stamps whenever they are others than `known`, and have stayed so for EVERY_S.

    An editor may write a file in place: half of it, or none, is no content to go by. Whoever reads the files then
    compares their stamps again. Looking sees alike what is written in place, renamed, linked, and folders that come.
    """
    folders, files = tuple(folders), tuple(files)
    last = known
    while True:
        await asyncio.sleep(EVERY_S)
        now = stamps(folders, files)
        if now == last and now != known:
            known = now
            yield now
        last = now
