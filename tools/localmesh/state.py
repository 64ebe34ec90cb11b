"""Where a local mesh has its files, and the mesh that they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.localmesh import drills
from tools.localmesh.mesh import Edge, Folders, Mesh
from tools.localmesh.nodes import shown
from tools.localmesh.pods import Pod, read_pods
from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.rules.faults import Fault
from tools.localmesh.rules.read import read_rules
from tools.localmesh.workloads import Registry, read_registry

PODS = "pods.json"
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
    def folders(self) -> Folders:
        return Folders(self.state / "xds", self.state / "certificates", served=True)

    @property
    def envoy(self) -> Path:
        return self.state / "envoy"

    @property
    def bootstrap(self) -> Path:
        return self.state / "bootstrap.json"

    @property
    def followed(self) -> tuple[Path, ...]:
        """What others write there for the controller."""
        return (self.state / PODS, self.state / drills.FILE, self.state / drills.WRITTEN)


def read_mesh(paths: Paths, edge: Edge) -> Mesh:
    """As the files say it now; no pod is ready. Raises MeshError."""
    registry = read_registry(paths.base)
    components = [paths.rules / FAULTS] if drills.written_are_on(paths.state) else []
    rules = read_rules(paths.rules, registry, components)
    return Mesh(registry, _pods(paths, registry), rules, edge, paths.folders, drills=_drills(paths))


def _pods(paths: Paths, registry: Registry) -> tuple[Pod, ...]:
    path = paths.state / PODS
    try:
        return tuple(read_pods(path, registry))
    except KeyError as error:
        text = f"there is no {error} in {shown(paths.base)}, and a pod of it runs; stop the pod, or put it there"
    except (OSError, ValueError, TypeError) as error:
        text = f"cannot be read ({error}); what starts the pods writes it"
    raise MeshError([Problem(Place(path, 1), "", text)])


def _drills(paths: Paths) -> dict[str, Fault]:
    try:
        return drills.drills(paths.state)
    except drills.DrillError as error:
        raise MeshError([Problem(Place(paths.state / drills.FILE, 1), "", str(error))]) from None
