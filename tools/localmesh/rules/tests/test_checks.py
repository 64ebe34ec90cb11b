"""Mistakes that only show when all rules are there, and those that Istio's own tools let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.read import read_rules
from tools.localmesh.rules.tests.written import RAG, TO_RAG, peers, policy, virtual_service, write, written
from tools.localmesh.workloads import read_registry

GATEWAY = written(
    "Gateway",
    "selector: {istio: edge}\nservers: [{port: {number: 8080, name: plain, protocol: HTTP2}, hosts: ['*']}]",
    name="edge",
)
SUBSETS = written("DestinationRule", f"host: {RAG}\nsubsets: [{{name: stable, labels: {{version: stable}}}}]")


def problems(folder: Path, *texts: str) -> list[str]:
    """What is found in rules beside the repository's own workloads, as "LINE: FIELD: TEXT"."""
    write(folder, *texts)
    return problems_of(folder)


def problems_of(folder: Path) -> list[str]:
    """The same of a folder of rules."""
    try:
        read_rules(folder, read_registry())
    except MeshError as error:
        return [f"{problem.place.line}: {problem.field}: {problem.text}" for problem in error.problems]
    return []


def allow(source: str) -> str:
    return policy(f"rules:\n  - from:\n      - source: {{{source}}}")


def shares(*parts: str) -> str:
    lines = "".join(f"\n    - {{destination: {{host: rag}}{part}}}" for part in parts)
    return virtual_service(f"- route:{lines}")


def balancing(spec: str, *, name: str = "one", namespace: str = "weft", host: str = RAG) -> str:
    return written("DestinationRule", f"host: {host}\n{spec}", name=name, namespace=namespace)


def test_own_rules() -> None:
    """The repository's rules have none of these mistakes."""
    assert problems_of(REPOSITORY_ROOT / "mesh") == []


FINE = [
    (virtual_service(f"- {TO_RAG}"),),
    (shares(", weight: 30", ", weight: 70"),),
    (virtual_service("- route: [{destination: {host: rag, subset: stable}}]"), SUBSETS),
    (virtual_service(f"- match: [{{sourceLabels: {{app: gateway}}}}]\n  {TO_RAG}\n- {TO_RAG}"),),
    (allow("principals: [cluster.local/ns/weft/sa/rag, '*/sa/edge', 'cluster.local/*']"),),
    (allow("namespaces: [weft]"), peers("mtls: {mode: PERMISSIVE}")),
    (policy("{}"),),
    (
        GATEWAY,
        virtual_service(f"- {TO_RAG}"),
        written("VirtualService", f"hosts: [{RAG}]\ngateways: [edge]\nhttp: [{{{TO_RAG}}}]", name="outside"),
    ),
    (peers("mtls: {mode: STRICT}"), peers("selector: {matchLabels: {app: rag}}", name="two")),
    (balancing("trafficPolicy: {tls: {mode: DISABLE}}"), peers("mtls: {mode: DISABLE}")),
]


@pytest.mark.parametrize("texts", FINE)
def test_fine(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """Rules without these mistakes pass."""
    assert problems(tmp_path, *texts) == []


BEHIND = "no call gets to"
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    # Hosts, subsets, gateways.
    ((virtual_service(f"- {TO_RAG}", hosts="[gone]"),), "1: spec.hosts: there is no Service gone.weft.svc"),
    (
        (virtual_service(f"- {TO_RAG}", hosts="[redis]"),),
        "1: spec.hosts: redis.weft.svc.cluster.local is not in the me",
    ),
    (
        (virtual_service("- route: [{destination: {host: gone}}]"),),
        "7: spec.http[0].route[0].destination.host: there is no Service gone",
    ),
    (
        (virtual_service("- route: [{destination: {host: rag, subset: gone}}]"), SUBSETS),
        "7: spec.http[0].route[0].destination.subset: no DestinationRule of rag.weft.svc.cluster.local has a "
        "subset gone; there is: stable",
    ),
    (
        (virtual_service("- route: [{destination: {host: rag, port: {number: 1}}}]"),),
        "7: spec.http[0].route[0].destination.port: rag.weft.svc.cluster.local has no port 1; it has 50051",
    ),
    (
        (virtual_service("- route: [{destination: {host: triton}}]"),),
        "7: spec.http[0].route[0].destination.port: triton.weft.svc.cluster.local has no port 50051; it has 8001",
    ),
    (
        (written("VirtualService", f"hosts: ['*']\ngateways: [gone]\nhttp: [{{{TO_RAG}}}]"), GATEWAY),
        "1: spec.gateways: there is no Gateway weft/gone",
    ),
    (
        (virtual_service(f"- match: [{{gateways: [edge]}}]\n  {TO_RAG}"), GATEWAY),
        "7: spec.http[0].match[0].gateways: VirtualService weft/one is not for weft/edge",
    ),
    (
        (virtual_service(f"- {TO_RAG}"), virtual_service(f"- {TO_RAG}", name="two")),
        f"9: spec.hosts: {RAG} has VirtualService weft/one at",
    ),
    # Matches of nobody, and behind others.
    (
        (virtual_service(f"- match: [{{sourceLabels: {{app: gone}}}}]\n  {TO_RAG}"),),
        "7: spec.http[0].match[0].sourceLabels: no workload of the mesh has these labels",
    ),
    (
        (virtual_service(f"- match: [{{port: 1}}]\n  {TO_RAG}"),),
        f"7: spec.http[0].match[0].port: 1 is no port of {RAG}; those are 50051",
    ),
    (
        (virtual_service(f"- match: [{{sourceNamespace: gone}}]\n  {TO_RAG}"),),
        "7: spec.http[0].match[0].sourceNamespace: no workload of the mesh has these labels in this namespace",
    ),
    (
        (virtual_service(f"- match: [{{authority: {{exact: rag}}}}]\n  {TO_RAG}"),),
        "7: spec.http[0].match[0].authority: is supported for calls that come in at a Gateway only",
    ),
    ((virtual_service(f"- {TO_RAG}\n- name: a\n  {TO_RAG}"),), f"8: spec.http[1]: {BEHIND} a: spec.http[0] at"),
    (
        (virtual_service(f"- match: [{{uri: {{prefix: /}}}}]\n  {TO_RAG}\n- match: [{{port: 50051}}]\n  {TO_RAG}"),),
        f"9: spec.http[1].match[0]: {BEHIND} spec.http[1]: spec.http[0] at",
    ),
    (
        (
            virtual_service(
                f"- match: [{{uri: {{prefix: /a}}}}]\n  {TO_RAG}\n"
                f"- match: [{{uri: {{exact: /ab}}, headers: {{a: {{}}}}}}]\n  {TO_RAG}"
            ),
        ),
        f"9: spec.http[1].match[0]: {BEHIND} spec.http[1]: spec.http[0] at",
    ),
    # Weights and times.
    ((shares(", weight: 30", ", weight: 80"),), "8: spec.http[0].route: the weights sum to 110; make them 100"),
    ((shares(", weight: 50"),), "8: spec.http[0].route: the weights sum to 50; make them 100"),
    ((shares("", ""),), "8: spec.http[0].route: the weights sum to 0; make them 100"),
    (
        (virtual_service(f"- timeout: 1s\n  retries: {{attempts: 1, perTryTimeout: 2s}}\n  {TO_RAG}"),),
        "8: spec.http[0].retries.perTryTimeout: a try may take 2s, and the whole call 1s",
    ),
    # DestinationRules.
    ((balancing("{}", host="gone").replace("{}", ""),), "1: spec.host: gone.weft.svc.cluster.local is no Service"),
    (
        (balancing("subsets: [{name: a, labels: {version: gone}}]"),),
        f"6: spec.subsets[0].labels: no Deployment behind {RAG} has the labels {{version: gone}}",
    ),
    ((balancing(""), balancing("", name="two")), f"7: spec.host: {RAG} has a DestinationRule at"),
    ((balancing("", namespace="other"),), "1: metadata.namespace: nobody uses a DestinationRule of other"),
    (
        (balancing("trafficPolicy: {portLevelSettings: [{port: {number: 1}, tls: {mode: DISABLE}}]}"),),
        f"6: portLevelSettings: {RAG} has no port 1; it has 50051",
    ),
    (
        (balancing("trafficPolicy: {tls: {mode: DISABLE}}"), peers("mtls: {mode: STRICT}")),
        "6: spec.trafficPolicy.tls.mode: rag takes nothing but mutual TLS",
    ),
    (
        (
            balancing("subsets: [{name: s, labels: {version: stable}, trafficPolicy: {tls: {mode: DISABLE}}}]"),
            peers("mtls: {mode: STRICT}"),
        ),
        "6: spec.subsets[0].trafficPolicy.tls.mode: rag takes nothing but mutual TLS",
    ),
    (
        (balancing("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}"), peers("mtls: {mode: DISABLE}")),
        "6: spec.trafficPolicy.tls.mode: rag takes nothing but plain text",
    ),
    # Who calls.
    (
        (policy("selector: {matchLabels: {app: gone}}\nrules: [{}]"),),
        "1: spec.selector: no workload of the mesh in weft has the labels {app: gone}",
    ),
    ((policy("rules: [{}]", namespace="gone"),), "1: metadata.namespace: no workload of the mesh is in gone"),
    (
        (GATEWAY.replace("namespace: weft", "namespace: istio-system"),),
        "1: metadata.namespace: no workload of the mesh is in istio-system; name another namespace",
    ),
    ((policy("selector: {matchLabels: {app: rag}}"),), "4: spec: has no rules"),
    (
        (allow("principals: [cluster.local/ns/weft/sa/gone]"),),
        "7: principals: cluster.local/ns/weft/sa/gone is nobody's principal; there is: cluster.local/ns/weft/sa/edge",
    ),
    (
        (allow("principals: ['spiffe://cluster.local/ns/weft/sa/rag']"),),
        "7: spec.rules[0].from[0].source.principals[0]",
    ),
    ((allow("namespaces: [gone]"),), "7: namespaces: gone is nobody's namespace; there is: weft"),
    (
        (allow("principals: [cluster.local/ns/weft/sa/rag]"), peers("mtls: {mode: DISABLE}")),
        "6: rules: edge is called in plain text",
    ),
    (
        (
            allow("principals: [cluster.local/ns/weft/sa/gateway]"),
            peers("mtls: {mode: PERMISSIVE}"),
            balancing("trafficPolicy: {tls: {mode: DISABLE}}"),
        ),
        "6: rules: rag is called in plain text",
    ),
    (
        (policy("rules:\n  - when: [{key: source.principal, values: [cluster.local/ns/weft/sa/gone]}]"),),
        "6: principals: cluster.local/ns/weft/sa/gone is nobody's principal",
    ),
    (
        (peers("mtls: {mode: STRICT}"), peers("mtls: {mode: DISABLE}", name="two")),
        "11: spec: two and one",
    ),
    (
        (peers("selector: {matchLabels: {app: rag}}\nportLevelMtls: {1: {mode: DISABLE}}"),),
        "6: spec.portLevelMtls.1: no Service leads to port 1 of these pods; those are 50051",
    ),
    # What the readers find too.
    ((written("VirtualServices", "a: b"),), "2: kind: VirtualServices is not supported"),
    ((written("VirtualService", "a: b", api="networking.istio.io/v2"),), "1: apiVersion: networking.istio.io/v2 has"),
    ((virtual_service(f"- {TO_RAG}").replace(", namespace: weft", ""),), "3: metadata: namespace is missing"),
]


@pytest.mark.parametrize(("texts", "expected"), MISTAKES)
def test_mistake(tmp_path: Path, texts: tuple[str, ...], expected: str) -> None:
    """Each mistake is told with its line and field."""
    found = problems(tmp_path, *texts)
    assert found, "nothing was found"
    assert found[0].startswith(expected), found


def test_all_at_once(tmp_path: Path) -> None:
    """Several mistakes are told in one pass, in the order of lines."""
    text = virtual_service("- timeout: 1s\n  route: [{destination: {host: gone}}]", hosts="[gone]")
    ambiguous = (peers("mtls: {mode: STRICT}"), peers("mtls: {mode: DISABLE}", name="two"))
    found = problems(tmp_path, text, balancing("", namespace="other"), *ambiguous)
    assert [problem.split(":")[0] for problem in found] == ["1", "8", "10", "26"]
