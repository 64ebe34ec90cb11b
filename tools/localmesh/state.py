"""Where a local mesh has its files, and the mesh that they say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tools.localmesh import drills
from tools.localmesh.documents import SUFFIXES
from tools.localmesh.mesh import Edge, Mesh
from tools.localmesh.nodes import shown
from tools.localmesh.pods import PODS, Pod, read_pods
from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.rules.read import read_rules
from tools.localmesh.workloads import Registry, read_registry

KEPT = "in-force"
FAULTS = "faults"
"""The component of the rules, a folder in theirs, that is applied where somebody asks for it."""


@dataclass(frozen=True)
class Paths:
    """`state` is the mesh's own folder: pods.json, drills.json and status.json are in it, certificates, Envoy's files
    and its working folder below it. `rules` and `base` have kustomizations."""

    state: Path
    rules: Path
    base: Path

    @property
    def xds(self) -> Path:
        """What Envoy is given, a file each."""
        return self.state / "xds"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def envoy(self) -> Path:
        return self.state / "envoy"

    @property
    def bootstrap(self) -> Path:
        return self.state / "bootstrap.json"

    @property
    def kept(self) -> Paths:
        """A copy of the files that were in force last, under the same state."""
        return replace(self, rules=self.state / KEPT / "rules", base=self.state / KEPT / "base")

    @property
    def followed(self) -> tuple[Path, ...]:
        """What others write there for the controller."""
        return (self.state / PODS, self.state / drills.FILE, self.state / drills.WRITTEN)


def read_mesh(paths: Paths, edge: Edge) -> Mesh:
    """As the files say it now; no pod is ready. Raises MeshError."""
    registry = read_registry(paths.base)
    components = [paths.rules / FAULTS] if drills.written_are_on(paths.state) else []
    rules = read_rules(paths.rules, registry, components)
    return Mesh(registry, _pods(paths, registry), rules, edge, paths.certificates, drills=drills.drills(paths.state))


def keep(paths: Paths, are_in_force: Callable[[], bool]) -> None:
    """Copies the files for `Paths.kept`, unless they have changed while that was done. Raises OSError."""
    partial = paths.state / f"{KEPT}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for folder, name in ((paths.rules, "rules"), (paths.base, "base")):
        shutil.copytree(folder, partial / name, ignore=_not_followed)
    if are_in_force():
        shutil.rmtree(paths.state / KEPT, ignore_errors=True)
        partial.rename(paths.state / KEPT)


def _not_followed(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not Path(folder, name).is_dir() and Path(name).suffix not in SUFFIXES}


def _pods(paths: Paths, registry: Registry) -> tuple[Pod, ...]:
    path = paths.state / PODS
    try:
        return tuple(read_pods(path, registry))
    except KeyError as error:
        text = f"there is no {error} in {shown(paths.base)}, and a pod of it runs; stop the pod, or put it there"
    except (OSError, ValueError, TypeError) as error:
        text = f"cannot be read ({error}); what starts the pods writes it"
    raise MeshError([Problem(Place(path, 1), "", text)])
