"""What PeerAuthentication is read into, which one holds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.problems import MeshError
from tools.localmesh.rules.peer_authentication import Mode, PeerAuthentication, effective, read_peer_authentication
from tools.localmesh.rules.tests.written import documents, peers, refusal
from tools.localmesh.workloads import Workload

RAG = Workload("rag", "weft", "rag", {"app": "rag", "version": "stable"}, 1, {}, True)


def read(folder: Path, *texts: str) -> list[PeerAuthentication]:
    return [read_peer_authentication(document) for document in documents(folder, *texts)]


MESH = peers("mtls: {mode: DISABLE}", "mesh", "istio-system")
NAMESPACE = peers("mtls: {mode: PERMISSIVE}", "namespace")
UNSET = peers("mtls: {mode: UNSET}", "namespace")
ELSEWHERE = peers("mtls: {mode: DISABLE}", "elsewhere", "other")
OWN = peers("selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}", "own")
ANOTHERS = peers("selector: {matchLabels: {app: rag, version: canary}}\nmtls: {mode: DISABLE}", "anothers")
PORT = peers(
    "selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}\nportLevelMtls: {50051: {mode: DISABLE}}", "own"
)
ONLY_PORT = peers("selector: {matchLabels: {app: rag}}\nportLevelMtls: {50051: {mode: STRICT}}", "own")
UNSET_PORT = peers(
    "selector: {matchLabels: {app: rag}}\nmtls: {mode: STRICT}\nportLevelMtls: {50051: {mode: UNSET}}", "own"
)
EFFECTIVE: dict[str, tuple[tuple[str, ...], Mode, Mode]] = {
    "nothing": ((), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "the mesh's": ((MESH,), Mode.DISABLE, Mode.DISABLE),
    "the namespace's before the mesh's": ((NAMESPACE, MESH), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "its own before the namespace's": ((OWN, NAMESPACE, MESH), Mode.STRICT, Mode.STRICT),
    "another namespace's": ((ELSEWHERE,), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "another workload's": ((ANOTHERS, NAMESPACE), Mode.PERMISSIVE, Mode.PERMISSIVE),
    "unset": ((UNSET, MESH), Mode.DISABLE, Mode.DISABLE),
    "not written": ((peers("selector: {matchLabels: {app: rag}}", "own"), MESH), Mode.DISABLE, Mode.DISABLE),
    "a port": ((PORT, NAMESPACE), Mode.DISABLE, Mode.STRICT),
    "a port alone": ((ONLY_PORT, MESH), Mode.STRICT, Mode.DISABLE),
    "an unset port": ((UNSET_PORT, MESH), Mode.STRICT, Mode.STRICT),
}


@pytest.mark.parametrize("name", EFFECTIVE)
def test_the_nearest_peer_authentication_holds(tmp_path: Path, name: str) -> None:
    """For a port of a workload, and for another of its ports, as istiod composes them."""
    texts, at_port, elsewhere = EFFECTIVE[name]
    found = read(tmp_path, *texts) if texts else []
    assert [effective(found, RAG, port).mode for port in (50051, 8080)] == [at_port, elsewhere]


def test_a_mode_tells_where_it_is_written(tmp_path: Path) -> None:
    """The line of the mode, or of the port's; nowhere for Istio's default."""
    found = read(tmp_path, PORT)
    places = [effective(policies, RAG, port).place for policies, port in ((found, 50051), (found, 8080), ([], 8080))]
    assert [place and place.line for place in places] == [7, 6, None]


@pytest.mark.parametrize("texts", [(OWN, PORT.replace("name: own", "name: two")), (NAMESPACE, peers("mtls: {}"))])
def test_of_two_peer_authentications_for_one_thing_none_is_taken(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """A cluster takes the older, and files do not tell."""
    found = read(tmp_path, *texts)
    with pytest.raises(MeshError, match="are both for rag; keep one"):
        effective(found, RAG, 50051)


REFUSED: dict[str, str] = {
    peers("mtls: {mode: strict}"): "5: spec.mtls.mode: 'strict' is not supported",
    peers("mtls: {mode: STRICT, other: 1}"): "5: spec.mtls.other: is not supported here",
    peers("portLevelMtls: {50051: {mode: STRICT}}"): "5: spec.portLevelMtls: needs a selector",
    peers(
        "selector: {matchLabels: {app: a}}\nportLevelMtls: {0: {mode: STRICT}}"
    ): "portLevelMtls.0: must be the number",
    peers("selector: {matchLabels: {app: a}}\nportLevelMtls: {050051: {mode: STRICT}}"): "must be the number of a port",
    peers("selector: {matchLabels: {app: a}}\nportLevelMtls: {grpc: {mode: STRICT}}"): "must be the number of a port",
    peers("selector: {matchLabels: {app: a}}\nmtls: {mode: STRICT}", namespace="istio-system"): "is not supported in",
    peers("mtls: {mode: STRICT}\nother: 1"): "6: spec.other: is not supported here",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: " ".join(text.split("spec:")[1].split()))
def test_what_is_not_supported_is_refused(tmp_path: Path, text: str) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, text)
    assert REFUSED[text] in found
