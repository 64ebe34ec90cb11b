"""The registry that is read from k8s/base, and the replicas."""

from __future__ import annotations

from pathlib import Path

from tools.localmesh.pods import Pod, mesh_address, outbound_address, read_pods, write_pods
from tools.localmesh.workloads import read_registry

REGISTRY = read_registry()


def dialled(name: str) -> set[str]:
    return {service.name for service, _ in REGISTRY.dialled_by(REGISTRY.workload(name))}


def test_who_dials_whom_is_what_the_manifests_say() -> None:
    """Nobody dials a service that its environment does not name; stores are outside the mesh."""
    found = {workload.name: dialled(workload.name) for workload in REGISTRY.workloads}
    assert found == {
        "edge": set(),
        "gateway": {"rag", "embedding", "inference"},
        "rag": {"embedding", "inference"},
        "rag-canary": {"embedding", "inference"},
        "embedding": {"inference"},
        "inference": {"triton"},
        "inference-gpu": {"triton-gpu"},
        "triton": set(),
        "triton-gpu": set(),
        "redis": set(),
        "qdrant": set(),
    }


def test_stores_have_no_sidecars() -> None:
    """Everything else does."""
    assert {workload.name for workload in REGISTRY.workloads if not workload.in_mesh} == {"redis", "qdrant"}


def test_a_service_knows_the_ports_of_its_pods() -> None:
    """`targetPort` may be a name of the pods' own."""
    inference = REGISTRY.service("inference.weft.svc.cluster.local")
    assert inference is not None
    assert [(port.name, port.number, port.target) for port in inference.ports] == [("grpc", 50051, 50051)]
    selected = [workload.name for workload in REGISTRY.workloads if inference.selects(workload.labels)]
    assert selected == ["inference", "inference-gpu"]


def test_addresses_of_stacks_and_pods_differ() -> None:
    """Two stacks, two pods of one, and two destinations of a pod never share an address."""
    assert mesh_address(7700, 1) == "127.30.20.1"
    assert len({mesh_address(port, number) for port in (7700, 7800) for number in range(1, 255)}) == 2 * 254
    gateway = REGISTRY.workload("gateway")
    pod = Pod("gateway-0", gateway, mesh_address(7700, 1), "127.0.0.1:7705")
    addresses = [outbound_address(REGISTRY, pod, *each) for each in REGISTRY.dialled_by(gateway)]
    assert len(set(addresses)) == 3


def test_pods_are_read_as_they_were_written(tmp_path: Path) -> None:
    """All that a pod is goes through the file."""
    pods = [Pod("rag-0", REGISTRY.workload("rag"), "127.30.20.3", "127.0.0.1:7701", "local/b")]
    write_pods(tmp_path / "pods.json", pods)
    assert read_pods(tmp_path / "pods.json", REGISTRY) == pods
