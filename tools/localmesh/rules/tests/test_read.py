from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.read import READERS, read_rules
from tools.localmesh.workloads import read_registry

MESH = REPOSITORY_ROOT / "mesh"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A copy of the mesh's rules, to be spoilt."""
    return Path(shutil.copytree(MESH, tmp_path / "rules"))


def test_the_rules_of_the_repository_are_read() -> None:
    """Every kind that is there comes out, with delegates merged in."""
    rules = read_rules(MESH, read_registry())
    assert {policy.name for policy in rules.authorization_policies} >= {"nobody", "gateway", "rag", "triton"}
    assert {rule.host.partition(".")[0] for rule in rules.destination_rules} >= {"gateway", "rag", "inference"}
    assert all(route.destinations for one in rules.virtual_services for route in one.http if not route.direct_response)
    assert (len(rules.gateways), len(rules.peer_authentications)) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("security.istio.io/v1\n", "security.istio.io/v1beta1\n", "apiVersion: security.istio.io/v1beta1 has no Peer"),
        ("kind: PeerAuthentication", "kind: PeerAuthentification", "kind: PeerAuthentification is not supported"),
        ("kind: PeerAuthentication", "kind: Sidecar", "kind: Sidecar is not supported; what is: AuthorizationPolicy"),
    ],
)
def test_other_kinds_and_versions_are_refused(rules: Path, old: str, new: str, said: str) -> None:
    """A kind that is unknown, or of another version, is told at its own line: Istio's tools pass it in silence."""
    file = rules / "identity.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(MeshError) as caught:
        read_rules(rules, read_registry())
    [problem] = caught.value.problems
    assert said in str(problem)
    assert new.strip() in file.read_text().splitlines()[problem.place.line - 1]


def test_all_problems_are_told_together(rules: Path) -> None:
    """Mistakes in several files come in one error."""
    for name, old, new in (
        ("identity.yaml", "STRICT", "STRIKT"),
        ("traffic.yaml", "maxEjectionPercent: 50", "maxEjectionPercent: 500"),
        ("routing.yaml", "weight: 100", "wait: 100"),
    ):
        file = rules / name
        file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(MeshError) as caught:
        read_rules(rules, read_registry())
    assert {problem.place.file.name for problem in caught.value.problems} == {
        "identity.yaml",
        "traffic.yaml",
        "routing.yaml",
    }


def test_what_is_supported_is_said_by_kind() -> None:
    """Each kind has one version."""
    kinds = [kind for _, kind in READERS]
    assert sorted(kinds) == sorted(set(kinds))
