"""Which replicas a stack runs of the workloads of `k8s/base`, and the pods of the mesh that they are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from tools.localmesh.pods import HOME_ZONE, Pod, mesh_address
from tools.localmesh.workloads import Registry, Service, Workload, read_registry
from tools.stack.options import Options, stack_options
from tools.stack.part import Stack, StackError

MOST_ADDRESSES = 254
MOST_REPLICAS = 16
"""Of one Deployment: each is a process of some 80 MiB."""

SERVICES = ("gateway", "rag", "embedding", "inference")
EDGE = "envoy"
_FIXED = {
    "edge": (EDGE, "one Envoy is the edge, and every proxy of this machine"),
    "triton": ("triton", "one Triton stands behind it; it works in parallel by itself"),
    "redis": ("redis", "its data is one process's"),
    "qdrant": ("qdrant", "its data is one process's"),
}
"""By what the pods run (`app`) where that is no service of this project: the part that stands for them, and why it is
alone."""


@dataclass(frozen=True)
class Replica:
    """A pod of a workload, and the part whose process it is; several pods may share a process."""

    part: str
    workload: Workload
    number: int
    zone: str = HOME_ZONE

    @property
    def pod(self) -> str:
        """Its name in the mesh: that of the part, where the part is this replica alone."""
        return replica_name(self.workload.name, self.number)


@dataclass(frozen=True)
class Replicas:
    """All of a stack's, in the order of the registry."""

    registry: Registry
    all: tuple[Replica, ...]

    def of_services(self) -> list[Replica]:
        """Those that are processes of this project's services, a part each."""
        return [replica for replica in self.all if replica.workload.app in SERVICES]

    def of(self, part: str) -> Replica:
        """A part's; raises StopIteration where it is no replica."""
        return next(replica for replica in self.all if replica.part == part)

    def behind(self, service: Service) -> list[str]:
        """The parts that answer for a Service, each once."""
        return list(dict.fromkeys(each.part for each in self.all if service.selects(each.workload.labels)))

    def pods(self, stack: Stack) -> list[Pod]:
        """Those in the mesh. Stacks with different edges share no address, and one more replica changes no other's."""
        return [
            Pod(
                replica.pod,
                replica.workload,
                mesh_address(stack.ports[EDGE], self._number(replica)),
                "" if replica.part == EDGE else stack.address(replica.part),
                replica.zone,
            )
            for replica in self._inside()
        ]

    def pod(self, stack: Stack, part: str) -> Pod:
        """The first of a part's."""
        (name, *_) = (replica.pod for replica in self._inside() if replica.part == part)
        return next(pod for pod in self.pods(stack) if pod.name == name)

    def _number(self, replica: Replica) -> int:
        return 1 + self.registry.workloads.index(replica.workload) * MOST_REPLICAS + replica.number

    def _inside(self) -> list[Replica]:
        return [replica for replica in self.all if replica.workload.in_mesh]


def replicas(registry: Registry, options: Options) -> Replicas:
    """As many as the manifests say, or the options. Raises StackError for a name or a number that cannot be meant."""
    if len(registry.workloads) * MOST_REPLICAS > MOST_ADDRESSES:
        raise StackError(
            f"k8s/base: a local stack has room for {MOST_ADDRESSES // MOST_REPLICAS} workloads, and no more"
        )
    _check_scale(registry, options.scale)
    found: list[Replica] = []
    for workload in registry.workloads:
        if workload.app in _FIXED:
            found.append(Replica(_FIXED[workload.app][0], workload, 0))
        elif workload.app not in SERVICES:
            raise StackError(f"k8s/base: no part runs {workload.app!r}, the app of Deployment {workload.name}")
        else:
            count = _count(workload, options)
            found += [Replica(replica_name(workload.name, number), workload, number) for number in range(count)]
    _check_zones(found, options.zones)
    zoned = [Replica(each.part, each.workload, each.number, options.zones.get(each.part, HOME_ZONE)) for each in found]
    return Replicas(registry, tuple(zoned))


def stack_replicas(stack: Stack) -> Replicas:
    """Those that a stack was declared with."""
    return replicas(read_registry(), stack_options(stack))


def replica_name(deployment: str, number: int) -> str:
    """The first replica has the plain name, the next one is -2."""
    return deployment if number == 0 else f"{deployment}-{number + 1}"


def _count(workload: Workload, options: Options) -> int:
    """Without a mesh nobody chooses between Deployments: only the one that has its service's name runs."""
    if not options.mesh:
        return int(workload.name == workload.app)
    return options.scale.get(workload.name, workload.replicas)


def _check_scale(registry: Registry, scale: Mapping[str, int]) -> None:
    known = {workload.name: workload for workload in registry.workloads}
    scalable = [name for name, workload in known.items() if workload.app in SERVICES]
    for name, count in scale.items():
        if name == "issuer":
            raise StackError("--scale issuer: there is one issuer; its clients are one file")
        if name not in known:
            near = difflib.get_close_matches(name, scalable, n=1)
            meant = f", did you mean {near[0]!r}?" if near else ""
            raise StackError(f"--scale: there is no Deployment {name!r}{meant}; there are {', '.join(scalable)}")
        if name not in scalable:
            raise StackError(f"--scale {name}: it stays one: {_FIXED[known[name].app][1]}")
        if not 0 <= count <= MOST_REPLICAS:
            raise StackError(f"--scale {name}={count}: give a number from 0 to {MOST_REPLICAS}")
    for app in SERVICES:
        of_app = [name for name in scalable if known[name].app == app]
        if sum(scale.get(name, known[name].replicas) for name in of_app) == 0:
            raise StackError(f"--scale: nothing would answer for {app}; leave at least one of {', '.join(of_app)}")


def _check_zones(found: list[Replica], zones: Mapping[str, str]) -> None:
    movable = [replica.part for replica in found if replica.workload.app in SERVICES]
    for part, zone in zones.items():
        if part not in movable:
            raise StackError(f"--zone: there is no replica {part!r}; replicas are {', '.join(movable)}")
        region, slash, rest = zone.partition("/")
        if not (region and slash and rest) or "/" in rest or not zone.replace("/", "").replace("-", "").isalnum():
            raise StackError(f"--zone {part}={zone}: write REGION/ZONE, such as local/b (letters, digits, -)")
