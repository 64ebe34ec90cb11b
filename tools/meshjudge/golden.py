"""The golden summary: what istiod said of `mesh/` and of each case, as committed text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.documents import resource_files
from tools.localmesh.workloads import Registry, read_registry
from tools.meshjudge.asking import ask_istiod
from tools.meshjudge.cases import BASE, case_names, write_case
from tools.meshjudge.istiod import Refused
from tools.meshjudge.kustomized import with_component, write_objects
from tools.meshjudge.proxies import Proxies, proxies
from tools.meshjudge.summary import Parts, changed, changes, grouped, text_of, ungrouped
from tools.meshjudge.world import world_pods

FOLDER = Path(__file__).with_name("golden")
MESH = REPOSITORY_ROOT / "mesh"
FAULTS = MESH / "faults"
REFUSED = "refused"
"""The only key of a case that istiod does not take, with what it says."""


def mesh_file() -> Path:
    """What `mesh/` means."""
    return FOLDER / "mesh.yaml"


def faults_file() -> Path:
    """What its faults component changes of that."""
    return FOLDER / "faults.yaml"


def case_file(name: str) -> Path:
    """What a case changes of the base, or for the base what it means."""
    return FOLDER / "cases" / f"{name}.yaml"


def golden_mesh() -> Parts:
    return ungrouped(_read(mesh_file()))


def golden_faults() -> Parts:
    return changed(golden_mesh(), _read(faults_file()))


def golden_case(name: str) -> Parts | str:
    """What it means; the text where istiod refuses it."""
    written = _read(case_file(name))
    if REFUSED in written:
        return str(written[REFUSED])
    return _base() if name == BASE else changed(_base(), written)


def said_now(binary: Path) -> Iterator[tuple[Path, str]]:
    """What an istiod says: the files' texts as they should be, one after the other. Takes about two minutes."""
    registry = read_registry()
    with proxies() as client, tempfile.TemporaryDirectory(prefix="meshjudge-") as scratch:
        judge = _Judge(binary, client, registry)
        files = resource_files(MESH)
        mesh = judge.asks(files)
        yield mesh_file(), text_of(grouped(mesh))
        faulty = write_objects(with_component(files, FAULTS), Path(scratch))
        yield faults_file(), text_of(changes(mesh, judge.asks([faulty])))
        base: Parts = {}
        for name in case_names():
            with tempfile.TemporaryDirectory(prefix="meshjudge-") as folder:
                try:
                    parts = judge.asks(write_case(name, Path(folder)))
                    base = parts if name == BASE else base
                    written: Mapping[str, Any] = grouped(parts) if name == BASE else changes(base, parts)
                except Refused as refusal:
                    written = {REFUSED: str(refusal)}
            yield case_file(name), text_of(written)


class _Judge:
    def __init__(self, binary: Path, client: Proxies, registry: Registry) -> None:
        self._binary = binary
        self._client = client
        self._registry = registry
        self._pods = world_pods(registry)

    def asks(self, files: list[Path]) -> Parts:
        return ask_istiod(self._binary, self._client, self._registry, self._pods, files)


@cache
def _base() -> Parts:
    return ungrouped(_read(case_file(BASE)))


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(file.read_text())
    return read
