"""What a stack gives its mesh before it starts, and what it reads of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from libs.parts.install import REPOSITORY_ROOT
from libs.parts.processes import RunningPart
from tools.localmesh import drills
from tools.localmesh.pods import PODS, Pod, inbound_address, outbound_address, write_pods
from tools.stack.options import stack_options
from tools.stack.part import Stack, StackError
from tools.stack.ports import is_free
from tools.stack.replicas import EDGE, Replicas, stack_replicas

FOLDER = "mesh"
RULES = REPOSITORY_ROOT / "mesh"
STATUS = "status.json"  # tools.localmesh.told writes it, and would bring in metrics


def has_mesh(stack: Stack) -> bool:
    """Whether the stack was declared with one."""
    return EDGE in stack.ports


def rules_folder(stack: Stack) -> Path:
    """Whose rules hold."""
    return stack_options(stack).rules or RULES


def prepare_mesh(stack: Stack) -> None:
    """Tells the controller of the pods. Raises StackError for rules that are not there, a certificate that cannot be
    used, and an address of the mesh that is taken."""
    options = stack_options(stack)
    rules = rules_folder(stack)
    if not (rules / "kustomization.yaml").is_file():
        raise StackError(f"--rules {rules} is not a folder of mesh rules: it has no kustomization.yaml")
    if options.tls_certificate and options.tls_key:
        # Brings in what reads certificates.
        from tools.stack.certificate import check_certificate, name_to_ask_for

        check_certificate(options.tls_certificate, options.tls_key)
        name_to_ask_for(options.tls_certificate)
    found = stack_replicas(stack)
    for pod in found.pods(stack):
        for host, port in _listeners(found, pod):
            if not is_free(host, port):
                raise StackError(
                    f"{host}:{port} of {pod.name} is taken: something listens on port {port} of all addresses. End it, "
                    "or start without the mesh (--no-mesh)"
                )
    stack.folder(FOLDER).mkdir(mode=0o700, exist_ok=True)
    # Who was ready in an earlier life of the stack is not yet in this one, and its drills have ended with it.
    for name in (STATUS, drills.FILE, drills.WRITTEN):
        (stack.folder(FOLDER) / name).unlink(missing_ok=True)
    tell_pods(stack)


def tell_pods(stack: Stack) -> None:
    """The controller follows."""
    write_pods(stack.folder(FOLDER) / PODS, stack_replicas(stack).pods(stack))


def as_pod(start: Callable[[Stack], RunningPart], without: Stack) -> Callable[[Stack], RunningPart]:
    """Starts a replica that is a pod while it runs; the pods of the stack `without` it are told when it has ended."""

    def started(stack: Stack) -> RunningPart:
        tell_pods(stack)
        try:
            return _PassingPart(**vars(start(stack)), without=without)
        except BaseException:
            tell_pods(without)
            raise

    return started


@dataclass(frozen=True)
class _PassingPart(RunningPart):
    without: Stack = dataclasses.field(kw_only=True)

    def stop(self, grace_s: float = 10.0) -> int:
        code = super().stop(grace_s)
        tell_pods(self.without)
        return code


def called(pod: str) -> Callable[[Stack], str]:
    """Of a pod by its name: why the mesh gives it no calls; "" where it does."""

    def problem(stack: Stack) -> str:
        try:
            ready = json.loads((stack.folder(FOLDER) / STATUS).read_text())["ready"]
        except (OSError, ValueError, KeyError):
            return "the mesh does not tell of it"
        return "" if pod in ready else "the mesh gives it no calls yet"

    return problem


@dataclass(frozen=True)
class MeshState:
    """`problems`: what is wrong with the rules as they are now; those before them stay in force. `since` is in Unix
    seconds. `drills`: hosts on whose calls faults were put."""

    rules_folder: str
    since: float
    problems: tuple[str, ...]
    drills: tuple[str, ...] = ()


def mesh_state(state: Path) -> MeshState | None:
    """What the controller tells; None where there is none, or it tells nothing."""
    try:
        told = json.loads((state / FOLDER / STATUS).read_text())
        problems = tuple(str(problem["message"]) for problem in told["problems"])
        return MeshState(str(told["rules_folder"]), float(told["since"]), problems, tuple(map(str, told["drills"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listeners(found: Replicas, pod: Pod) -> list[tuple[str, int]]:
    """All addresses that Envoy listens on for a pod."""
    services = found.registry.services_of(pod.workload)
    taken = {inbound_address(pod, port) for service in services if pod.app for port in service.ports}
    dialled = found.registry.dialled_by(pod.workload)
    return sorted(taken | {outbound_address(found.registry, pod, service, port) for service, port in dialled})
