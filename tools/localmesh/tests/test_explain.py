from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from libs.contracts.policies import methods
from tools.localmesh.drills import fault_of, set_drill
from tools.localmesh.explain import ExplainError, Explanation, explain, explain_call
from tools.localmesh.explain_hop import Hop, Step
from tools.localmesh.mesh import Edge
from tools.localmesh.pods import PODS, Pod, mesh_address, write_pods
from tools.localmesh.state import Paths, read_mesh
from tools.localmesh.tests.lab import MESH
from tools.localmesh.told import Board
from tools.localmesh.workloads import BASE, read_registry

SEARCH = "weft.rag.v1.SearchService/Search"
GENERATE = "weft.inference.v1.GenerationService/StreamGenerate"
EDGE_PORT = 7700


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A mesh of one replica of each workload, all of them ready but the canary."""
    paths = Paths(tmp_path / "mesh", tmp_path / "rules", BASE)
    paths.state.mkdir()
    shutil.copytree(MESH, paths.rules)
    workloads = [workload for workload in read_registry().workloads if workload.in_mesh]
    pods = [
        Pod(
            f"{workload.name}-0",
            workload,
            mesh_address(EDGE_PORT, number),
            "" if workload.name == "edge" else f"127.0.0.1:{9000 + number}",
        )
        for number, workload in enumerate(workloads, start=1)
    ]
    write_pods(paths.state / PODS, pods)
    board = Board(paths, Edge(f"127.0.0.1:{EDGE_PORT}"))
    board.ready(pods, frozenset(pod.name for pod in pods if pod.name not in ("edge-0", "rag-canary-0")))
    return paths


def steps(hop: Hop, what: str) -> list[Step]:
    return [step for step in hop.steps if step.what == what]


def line(step: Step) -> str:
    """What is written where the step says that it comes from."""
    assert step.place
    return step.place.file.read_text().splitlines()[step.place.line - 1]


def way(explanation: Explanation) -> list[tuple[str, str]]:
    return [(hop.client, hop.service) for hop in explanation.hops]


def test_each_step_names_the_line_that_it_comes_from(paths: Paths) -> None:
    """From the edge to the gateway to the service: route, match, timeout, retries, share, subset, balancing, mutual TLS
    and the rule that lets the caller in, each at the line where it is written."""
    explanation = explain_call(paths.state, SEARCH)
    assert way(explanation) == [("edge-0", "gateway"), ("gateway-0", "rag")]
    edge, rag = explanation.hops
    assert edge.listener == f"127.0.0.1:{EDGE_PORT}"
    assert "name: plain" in line(steps(edge, "server")[0])
    expected = {
        "route": "within-121s-if-not-begun",
        "match": f"uri: {{exact: /{SEARCH}}}",
        "timeout": "timeout: 121s",
        "retries": "retries: {attempts: 2",
        "handed on": "name: shares",
        "destination": "subset: stable",
        "subset": "name: stable",
        "mutual TLS": "mtls: {mode: STRICT}",
    }
    for what, written in expected.items():
        assert written in line(steps(rag, what)[0]), what
    assert steps(rag, "timeout")[0].value == "121 s"
    assert steps(rag, "retries")[0].value == "2, on connect-failure,refused-stream"
    assert steps(rag, "destination")[0].value == "100% to rag, subset stable"
    [replica] = [step.value for step in steps(rag, "replica") if step.value.startswith("rag-0 ")]
    assert "process at 127.0.0.1:" in replica and replica.endswith("gets calls")
    [canary] = [step.value for step in steps(rag, "replica") if step.value.startswith("rag-canary-0 ")]
    assert canary.endswith("not ready")
    [authorization] = steps(rag, "authorization")
    assert authorization.value == "allowed by weft/rag"
    assert authorization.place and authorization.place.file.name == "authorization.yaml"


def test_with_a_certificate_it_is_the_other_server(paths: Paths) -> None:
    """What the mesh was started with decides where calls come in; without such a server none does, and that is said."""
    Board(paths, Edge(f"127.0.0.1:{EDGE_PORT}", paths.state / "edge.pem", paths.state / "edge.key")).ready(
        [], frozenset()
    )
    assert "name: https" in line(steps(explain_call(paths.state, SEARCH).hops[0], "server")[0])
    file = paths.rules / "edge.yaml"
    text = file.read_text()
    begin, end = text.index("    - port: {number: 8443"), text.index("---")
    file.write_text(text[:begin] + text[end:])
    with pytest.raises(ExplainError, match="no call comes in at Gateway edge"):
        explain_call(paths.state, SEARCH)


def test_priority_leads_to_another_subset(paths: Paths) -> None:
    """High priority goes before GPUs, the rest to the standard replicas; the edge knows of no priority yet."""
    high, normal = (explain_call(paths.state, f"/{GENERATE}", priority) for priority in ("high", "normal"))
    assert [step.value for step in steps(high.hops[1], "destination")] == ["inference, subset gpu"]
    assert [step.value for step in steps(normal.hops[1], "destination")] == ["inference, subset standard"]
    assert high.hops[0] == normal.hops[0]
    assert steps(high.hops[1], "timeout")[0].value == "none but the call's own deadline"


def test_further_calls_are_named(paths: Paths) -> None:
    """What the service dials, and what those dial, with whether they may."""
    found = {(hop.client, hop.service): hop for hop in explain_call(paths.state, SEARCH).further}
    assert list(found)[:2] == [("rag-0", "embedding"), ("rag-0", "inference")]
    assert ("inference-gpu-0", "triton-gpu") in found
    assert all(steps(hop, "authorization")[0].value.startswith("allowed by") for hop in found.values())


def test_further_calls_go_where_the_priority_says(paths: Paths) -> None:
    """Their replicas are told, and not what depends on a method that nobody knows."""
    for priority, subset in (("high", "gpu"), ("normal", "standard")):
        found = {(hop.client, hop.service): hop for hop in explain_call(paths.state, SEARCH, priority).further}
        inference = found["rag-0", "inference"]
        assert [step.value for step in steps(inference, "destination")] == [f"inference, subset {subset}"]
        assert not steps(inference, "timeout")
        assert not steps(inference, "retries")


def test_a_caller_that_may_not_is_said(paths: Paths) -> None:
    """A rule that is taken away is a REFUSED, with the policy that is left."""
    file = paths.rules / "authorization.yaml"
    file.write_text(file.read_text().replace("sa/gateway", "sa/edge"))
    [authorization] = steps(explain_call(paths.state, SEARCH).hops[1], "authorization")
    assert authorization.value.startswith("REFUSED")


def test_what_depends_on_a_method_is_no_verdict_on_further_calls(paths: Paths) -> None:
    """Where a policy names paths, nobody knows whether it lets in a call of some method; others are told as ever."""
    file = paths.rules / "authorization.yaml"
    text = file.read_text()
    begin = text.index("metadata: {name: embedding,")
    written = text[begin:].replace(
        "    - from:", "    - to: [{operation: {paths: [/weft.embedding.v1.*]}}]\n      from:", 1
    )
    file.write_text(text[:begin] + written)
    found = {(hop.client, hop.service): hop for hop in explain_call(paths.state, SEARCH).further}
    [unknown] = steps(found["rag-0", "embedding"], "authorization")
    assert unknown.value == "by the method: weft/embedding names paths"
    assert unknown.place and unknown.place.file.name == "authorization.yaml"
    assert steps(found["rag-0", "inference"], "authorization")[0].value == "allowed by weft/inference"


def test_drills_and_faults_are_told(paths: Paths) -> None:
    """A drill stands in the hop to the service that it is on."""
    set_drill(paths.state, "rag.weft.svc.cluster.local", fault_of(delay_s=1.0, abort="UNAVAILABLE", percent=10))
    edge, rag = explain_call(paths.state, SEARCH).hops
    assert not steps(edge, "drill")
    assert steps(rag, "drill")[0].value == "of calls 10% begin 1 s late, and 10% end with UNAVAILABLE"


def test_every_method_of_every_contract_has_a_way(paths: Paths) -> None:
    """Each is explained as lines and as JSON, and lets its callers in."""
    mesh = read_mesh(paths, Edge(f"127.0.0.1:{EDGE_PORT}"))
    for path, method in methods().items():
        for priority in ("low", "high"):
            explanation = explain(mesh, method, priority)
            verdicts = [step.value for hop in explanation.hops for step in steps(hop, "authorization")]
            assert len(verdicts) == len(explanation.hops) and explanation.hops[0].client == "edge-0", path
            assert not [value for value in verdicts if not value.startswith("allowed by")], path
            assert path in next(explanation.lines())
            assert json.loads(json.dumps(explanation.json()))["method"] == path


@pytest.mark.parametrize(
    "method", [f"/{SEARCH}", SEARCH.replace("/", "."), "SearchService.Search", "SearchService/Search"]
)
def test_a_method_may_be_called_by_its_service(paths: Paths, method: str) -> None:
    """With the package or without it, with a dot or a slash."""
    assert explain_call(paths.state, method).method == f"/{SEARCH}"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("weft.rag.v1.SearchService/Serch", "do you mean weft.rag.v1.SearchService/Search"),
        ("weft.rag.v1.SerchService/Search", "do you mean weft.rag.v1.SearchService/Search"),
        ("SearchService.Serch", "do you mean weft.rag.v1.SearchService/Search"),
        ("Search", "do you mean weft.rag.v1.SearchService/Search?"),
        ("", "no contract has a method ''"),
    ],
)
def test_an_unknown_method_gets_the_nearest(paths: Paths, method: str, said: str) -> None:
    """By its likeness, or by the method's name alone."""
    with pytest.raises(ExplainError, match=said.replace("?", r"\?")):
        explain_call(paths.state, method)


def test_what_cannot_be_explained_is_said(paths: Paths, tmp_path: Path) -> None:
    """An unknown priority, and a folder where no mesh has run."""
    with pytest.raises(ExplainError, match="'urgent' is no priority; what is: low, normal, high"):
        explain_call(paths.state, SEARCH, "urgent")
    with pytest.raises(ExplainError, match="no mesh has run"):
        explain_call(tmp_path / "nowhere", SEARCH)
