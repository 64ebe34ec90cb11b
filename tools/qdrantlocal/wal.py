"""Makes the engine's write-ahead log durable."""

import os
from pathlib import Path


class WriteAheadLog:
    """The log of one shard. The engine writes it through a shared mapping and never syncs it: a killed process loses
    nothing, a machine that goes down would."""

    def __init__(self, shard_dir: Path) -> None:
        self._folder = shard_dir / "wal"
        self._closed_and_synced: set[str] = set()

    def sync(self) -> None:
        """When this returns, all that the engine wrote before is on the disk."""
        names = set(os.listdir(self._folder))
        self._closed_and_synced &= names
        for name in sorted(names):
            if name.startswith("open-"):
                self._sync_file(name)
            elif name.startswith("closed-") and name not in self._closed_and_synced:
                self._sync_file(name)
                sync_folder(self._folder)  # it was renamed from open-*
                self._closed_and_synced.add(name)

    def _sync_file(self, name: str) -> None:
        descriptor = os.open(self._folder / name, os.O_RDWR)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
