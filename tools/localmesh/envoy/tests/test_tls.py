"""When TLS is spoken, and what of a mesh's rules is in its listeners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.envoy.listeners import inbound
from tools.localmesh.envoy.tests.lab import ECHO, PORT, a_mesh, mode, policy, security, workload
from tools.localmesh.envoy.tls import TlsMode, secrets, upstream_socket
from tools.localmesh.mesh import Edge, Mesh
from tools.localmesh.problems import MeshError
from tools.localmesh.workloads import Registry, Service

SPOKEN: list[tuple[str, TlsMode | None, bool]] = [
    ("", None, True),
    (mode("STRICT"), None, True),
    (mode("PERMISSIVE"), None, True),
    (mode("DISABLE"), None, False),
    (mode("STRICT"), "DISABLE", False),
    (mode("STRICT"), "ISTIO_MUTUAL", True),
    (mode("DISABLE"), "ISTIO_MUTUAL", True),
]


@pytest.mark.parametrize(("text", "wanted", "spoken"), SPOKEN)
def test_callers_speak_tls_as_the_destination_rule_says(
    tmp_path: Path, text: str, wanted: TlsMode | None, spoken: bool
) -> None:
    """Where it says nothing, as the service takes it."""
    mesh = a_mesh(tmp_path, security(tmp_path / "rules", text))
    assert (upstream_socket(mesh, mesh.pods[1], ECHO, PORT, "", wanted) is not None) is spoken


def with_two_accounts(mesh: Mesh) -> tuple[Mesh, Service]:
    """`both` is a Service of two workloads, with an account each."""
    both = Service("both", "weft", {"group": "both"}, (PORT,))
    workloads = tuple(replace(workload(name), labels={"app": name, "group": "both"}) for name in ("one", "two"))
    outside = replace(workload("three"), labels={"group": "both"}, in_mesh=False)
    return replace(mesh, registry=Registry((both,), (*workloads, outside))), both


def test_a_service_is_all_of_its_accounts_and_nobody_else(tmp_path: Path) -> None:
    """Names are compared whole; the server is told which subset of what is wanted."""
    mesh, both = with_two_accounts(a_mesh(tmp_path, security(tmp_path / "rules", mode("STRICT"))))
    socket = upstream_socket(mesh, mesh.pods[1], both, PORT, "gpu", None)
    assert socket
    context = socket["typed_config"]
    common = context["common_tls_context"]
    names = common["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]
    spiffe = "spiffe://cluster.local/ns/weft/sa"
    assert names == [
        {"san_type": "URI", "matcher": {"exact": f"{spiffe}/one"}},
        {"san_type": "URI", "matcher": {"exact": f"{spiffe}/two"}},
    ]
    assert context["sni"] == "outbound_.50051_.gpu_.both.weft.svc.cluster.local"
    assert common["alpn_protocols"] == ["istio", "h2"]


def test_workloads_of_a_service_must_take_the_same(tmp_path: Path) -> None:
    """Else callers would have to know whom they get."""
    one = mode("DISABLE").replace("spec: {", "spec: {selector: {matchLabels: {app: one}}, ")
    mesh, both = with_two_accounts(a_mesh(tmp_path, security(tmp_path / "rules", one)))
    with pytest.raises(MeshError, match=r"of those behind both.weft.svc.cluster.local only one would take plain text"):
        upstream_socket(mesh, mesh.pods[1], both, PORT, "", None)


def test_a_service_that_nobody_is_behind_is_nobody(tmp_path: Path) -> None:
    """Without a name to compare, everybody would do."""
    mesh = a_mesh(tmp_path, security(tmp_path / "rules"))
    with pytest.raises(ValueError, match=r"no\.weft"):
        upstream_socket(mesh, mesh.pods[1], Service("no", "weft", {"app": "no"}, (PORT,)), PORT, "", None)


def chains(mesh: Mesh) -> list[tuple[Any, bool]]:
    """Which connections each of the service's filter chains is for, and whether under TLS with a certificate."""
    listener, _, _ = inbound(mesh, mesh.pods[0], ECHO, PORT)
    return [
        (
            chain.get("filter_chain_match", {}).get("transport_protocol"),
            chain.get("transport_socket", {}).get("typed_config", {}).get("require_client_certificate", False),
        )
        for chain in listener["filter_chains"]
    ]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("STRICT", [(None, True)]),
        ("DISABLE", [(None, False)]),
        ("PERMISSIVE", [("tls", True), ("raw_buffer", False)]),
        ("UNSET", [("tls", True), ("raw_buffer", False)]),
    ],
)
def test_a_mode_is_which_chains_there_are(tmp_path: Path, name: str, wanted: list[tuple[Any, bool]]) -> None:
    """Without a word Istio takes both."""
    assert chains(a_mesh(tmp_path, security(tmp_path / "rules", mode(name)))) == wanted


def test_a_port_may_differ_from_its_workload(tmp_path: Path) -> None:
    """It is the pod's port that counts, not the Service's."""
    head = mode("STRICT").replace("spec: {", "spec: {selector: {matchLabels: {app: echo}}, ")
    at = {
        port: head.replace("}}\n", f"}}, portLevelMtls: {{{port}: {{mode: DISABLE}}}}}}\n") for port in (50051, 50052)
    }
    found = {port: chains(a_mesh(tmp_path, security(tmp_path / "rules", text))) for port, text in at.items()}
    assert found == {50051: [(None, True)], 50052: [(None, False)]}


def test_authorization_is_in_no_listener(tmp_path: Path) -> None:
    """Envoy ends the streams of a listener that changes."""
    text = mode("STRICT")
    before = a_mesh(tmp_path, security(tmp_path / "rules", text))
    after = replace(before, rules=security(tmp_path / "rules", text + policy("{action: DENY, rules: [{}]}")))
    listener, routes, cluster = inbound(before, before.pods[0], ECHO, PORT)
    assert inbound(after, after.pods[0], ECHO, PORT)[0] == listener
    assert inbound(after, after.pods[0], ECHO, PORT)[1] != routes
    assert inbound(after, after.pods[0], ECHO, PORT)[2] == cluster


def test_secrets_are_files_of_the_certificates_folder(tmp_path: Path) -> None:
    """One for each account and one for the authorities, each followed when another is renamed into the folder; and the
    edge's own, wherever that is."""
    edge = Edge("127.0.0.1:1", tmp_path / "edge" / "tls.crt", tmp_path / "edge" / "tls.key")
    found = secrets(a_mesh(tmp_path, security(tmp_path / "rules"), edge=edge))
    watched = {name: next(iter(_parts(secret))) for name, secret in found.items()}
    folder = str(tmp_path / "certificates")
    assert watched == {
        "authorities": folder,
        "edge-certificate": str(tmp_path / "edge"),
        **{f"identity-{name}": folder for name in ("echo", "edge", "friend", "stranger")},
    }


def _parts(secret: dict[str, Any]) -> list[str]:
    return [part["watched_directory"]["path"] for part in secret.values() if isinstance(part, dict)]
