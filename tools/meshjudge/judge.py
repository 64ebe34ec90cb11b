"""The judge's two works: to write down what istiod says, and to tell whether it still says so."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.documents import resource_files
from tools.localmesh.workloads import read_registry
from tools.meshjudge import golden
from tools.meshjudge.istioctl import istioctl_finds
from tools.meshjudge.kube_objects import kube_objects, shown
from tools.meshjudge.kustomized import with_component, write_objects
from tools.meshjudge.world import world_pods

MOST_LINES = 60
"""Of a file's differences; who wants all of them rewrites it and looks at `git diff`."""


def write(istiod: Path) -> None:
    """Rewrites the golden summary; files of cases that are no more go."""
    said = dict(golden.said_now(istiod))
    for file in set(golden.FOLDER.rglob("*.yaml")) - set(said):
        file.unlink()
    for file, text in said.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def check(istiod: Path, istioctl: Path | None) -> list[str]:
    """Lines that tell where the golden summary is not what istiod says, and what istioctl says against the rules."""
    found = _istioctl(istioctl) if istioctl else []
    said = dict(golden.said_now(istiod))
    for file in sorted(said.keys() | set(golden.FOLDER.rglob("*.yaml"))):
        now, written = said.get(file, ""), file.read_text() if file.exists() else ""
        name = str(file.relative_to(REPOSITORY_ROOT))
        differences = difflib.unified_diff(written.splitlines(), now.splitlines(), name, "istiod", lineterm="", n=2)
        found += list(differences)[:MOST_LINES]
    return found


def _istioctl(binary: Path) -> list[str]:
    registry = read_registry()
    with tempfile.TemporaryDirectory(prefix="meshjudge-") as folder:
        kubernetes = Path(folder) / "kubernetes.yaml"
        kubernetes.write_text(shown(kube_objects(registry, world_pods(registry))))
        files = resource_files(golden.MESH)
        faulty = write_objects(with_component(files, golden.FAULTS), Path(folder))
        return istioctl_finds(binary, files, kubernetes) + istioctl_finds(binary, [faulty], kubernetes)
