"""The data folder: the collections in it, opened when they are first used."""

import shutil
import uuid
from pathlib import Path

from qdrant_client.grpc import collections_pb2, points_pb2

from tools.qdrantlocal.catalog import Catalog, Entry
from tools.qdrantlocal.collection import Collection
from tools.qdrantlocal.errors import CallError, Code, not_found

FLUSH_AFTER_S = 5.0


class Engine:
    """Owns the folder: its user holds the folder's lock."""

    def __init__(self, data_dir: Path) -> None:
        self._shards = data_dir / "shards"
        self._shards.mkdir(exist_ok=True)
        self._catalog = Catalog(data_dir / "catalog.json")
        self._open: dict[str, Collection] = {}
        self._remove_leftovers()

    @property
    def names(self) -> list[str]:
        return list(self._catalog.entries)

    def entry(self, name: str) -> Entry:
        if name not in self._catalog.entries:
            raise not_found(f"Collection `{name}` doesn't exist!")
        return self._catalog.entries[name]

    def collection(self, name: str) -> Collection:
        if name not in self._open:
            entry = self.entry(name)
            self._open[name] = Collection(self._shards / entry.folder, entry.create)
        return self._open[name]

    def create(self, request: collections_pb2.CreateCollection) -> None:
        name = request.collection_name
        if name in self._catalog.entries:
            raise CallError(Code.ALREADY_EXISTS, f"Wrong input: Collection `{name}` already exists!")
        entry = Entry(uuid.uuid4().hex, request)
        collection = Collection(self._shards / entry.folder, request)
        collection.shard.flush()
        self._catalog.entries[name] = entry
        self._catalog.save()
        self._open[name] = collection

    def delete(self, name: str) -> bool:
        """Whether there was one."""
        entry = self._catalog.entries.pop(name, None)
        if entry is None:
            return False
        self._catalog.save()
        if name in self._open:
            self._open.pop(name).close()
        shutil.rmtree(self._shards / entry.folder, ignore_errors=True)
        return True

    def record_index(self, request: points_pb2.CreateFieldIndexCollection) -> None:
        """Remembers an index that has been made, and flushes it: it is durable when this returns."""
        self.collection(request.collection_name).flush()
        self.entry(request.collection_name).indexes[request.field_name] = request
        self._catalog.save()

    def commit(self) -> None:
        """Makes all writes so far durable."""
        for collection in self._open.values():
            collection.commit()

    def flush_due(self) -> float | None:
        """Flushes what has waited long enough; answers in how many seconds to come again, None if nothing waits."""
        next_s: float | None = None
        for collection in self._open.values():
            age_s = collection.unflushed_s()
            if age_s is None:
                continue
            if age_s >= FLUSH_AFTER_S:
                collection.flush()
            else:
                next_s = min(next_s or FLUSH_AFTER_S, FLUSH_AFTER_S - age_s)
        return next_s

    def close(self) -> None:
        for collection in self._open.values():
            collection.flush()
            collection.close()

    def _remove_leftovers(self) -> None:
        """Folders of collections that were never committed, or whose deletion was cut short."""
        known = {entry.folder for entry in self._catalog.entries.values()}
        for folder in self._shards.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder)
