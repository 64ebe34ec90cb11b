"""Which collections there are: one file, replaced as a whole."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from qdrant_client.grpc import collections_pb2, points_pb2

from tools.qdrantlocal.wal import sync_folder

VERSION = 1


class CatalogError(Exception):
    """The file is not what this server writes."""


@dataclass
class Entry:
    """A collection: its folder's name, the request that made it, and those that indexed a payload field."""

    folder: str
    create: collections_pb2.CreateCollection
    indexes: dict[str, points_pb2.CreateFieldIndexCollection] = field(default_factory=dict)


class Catalog:
    """What is in `entries` counts after `save`, and not before: saving is the commit point of every change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries = _read(path) if path.exists() else {}

    def save(self) -> None:
        """Replaces the file; a reader, or a start after a crash, finds the old one or the new one."""
        collections = {
            name: {
                "folder": entry.folder,
                "create": MessageToDict(entry.create),
                "indexes": {name: MessageToDict(index) for name, index in entry.indexes.items()},
            }
            for name, entry in self.entries.items()
        }
        partial = self._path.with_suffix(".partial")
        with partial.open("w") as file:
            json.dump({"version": VERSION, "collections": collections}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        sync_folder(self._path.parent)


def _read(path: Path) -> dict[str, Entry]:
    try:
        content = json.loads(path.read_text())
        version = content["version"]
        entries = _entries(content["collections"]) if version == VERSION else {}
    except (ValueError, KeyError, TypeError, AttributeError, ParseError) as error:
        raise CatalogError(f"{path} cannot be read: {error!r}; put back a copy, or start on another folder") from error
    if version != VERSION:
        raise CatalogError(
            f"{path} has version {version!r}, and this server reads {VERSION}: use the one that wrote it"
        )
    return entries


def _entries(collections: dict[str, Any]) -> dict[str, Entry]:
    return {
        name: Entry(
            folder=entry["folder"],
            create=ParseDict(entry["create"], collections_pb2.CreateCollection()),
            indexes={
                field_name: ParseDict(index, points_pb2.CreateFieldIndexCollection())
                for field_name, index in entry["indexes"].items()
            },
        )
        for name, entry in collections.items()
    }
