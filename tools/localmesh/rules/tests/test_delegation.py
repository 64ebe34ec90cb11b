"""A VirtualService and its delegates become what istiod makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.localmesh.problems import Place
from tools.localmesh.rules.faults import Delay, Fault
from tools.localmesh.rules.http_routes import CorsPolicy, HeaderChanges, Headers, Retries, Rewrite, Timeout
from tools.localmesh.rules.matches import How, Match, TextMatch
from tools.localmesh.rules.tests.written import TO_RAG, delegate, refusal, virtual_service, virtual_services, written

HERE = Place(Path("anywhere"), 1)


def exact(value: str) -> TextMatch:
    return TextMatch(How.EXACT, value)


def test_each_with_each(tmp_path: Path) -> None:
    """Entries are in the root's order, then the delegate's; matches in the delegate's, then the root's."""
    root = virtual_service(
        "- name: r\n  match: [{uri: {exact: /a}, name: one}, {uri: {exact: /b}}]\n  delegate: {name: d}\n"
        f"- name: own\n  {TO_RAG}"
    )
    text = "- name: h\n  match: [{headers: {p: {exact: h}}, name: two}, {headers: {p: {exact: i}}}]\n  "
    (found,) = virtual_services(tmp_path, root, delegate(f"{text}{TO_RAG}\n- {TO_RAG}", name="d"))
    assert [route.name for route in found.http] == ["r-h", "r", "own"]
    assert found.http[0].matches == (
        Match(HERE, name="one-two", uri=exact("/a"), headers={"p": exact("h")}),
        Match(HERE, name="two", uri=exact("/b"), headers={"p": exact("h")}),
        Match(HERE, name="one", uri=exact("/a"), headers={"p": exact("i")}),
        Match(HERE, uri=exact("/b"), headers={"p": exact("i")}),
    )
    assert found.http[1].matches == (Match(HERE, name="one", uri=exact("/a")), Match(HERE, uri=exact("/b")))


FAULT = "{delay: {percentage: {value: 1}, fixedDelay: 1s}}"
INHERITED: list[tuple[str, str, str, Any]] = [
    ("timeout: 1s", "timeout: 2s", "timeout", Timeout(2.0, HERE)),
    ("timeout: 1s", "name: a", "timeout", Timeout(1.0, HERE)),
    ("retries: {attempts: 0}", "retries: {attempts: 5}", "retries", Retries(5)),
    ("retries: {attempts: 0}", "name: a", "retries", Retries(0)),
    ("rewrite: {uri: /a}", "name: a", "rewrite", Rewrite("/a")),
    ("corsPolicy: {maxAge: 1s}", "name: a", "cors_policy", CorsPolicy(max_age_s=1)),
    ("corsPolicy: {maxAge: 1s}", "corsPolicy: {maxAge: 2s}", "cors_policy", CorsPolicy(max_age_s=2)),
    (f"fault: {FAULT}", "name: a", "fault", Fault(Delay(10_000, 1.0))),
    # Headers are replaced as a whole.
    (
        "headers: {request: {remove: [a]}}",
        "headers: {response: {remove: [b]}}",
        "headers",
        Headers(response=HeaderChanges(remove=("b",))),
    ),
]


@pytest.mark.parametrize(("root", "own", "name", "expected"), INHERITED)
def test_inherited(tmp_path: Path, root: str, own: str, name: str, expected: Any) -> None:
    """What the delegate says goes before what the root says."""
    text = virtual_service(f"- {root}\n  delegate: {{name: d}}")
    (found,) = virtual_services(tmp_path, text, delegate(f"- {own}\n  {TO_RAG}", name="d"))
    assert getattr(found.http[0], name) == expected


def test_places(tmp_path: Path) -> None:
    """A merged route knows both its entries."""
    text = virtual_service("- name: r\n  delegate: {name: d, namespace: weft}")
    (found,) = virtual_services(tmp_path, text, delegate(f"- {TO_RAG}", name="d"))
    assert found.http[0].delegate_place
    assert (found.http[0].place.line, found.http[0].delegate_place.line) == (7, 15)


TOGETHER = [
    ("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", True),
    ("{uri: {prefix: /a}}", "{uri: {prefix: /b}}", False),
    ("{uri: {exact: /a}}", "{uri: {exact: /a}}", True),
    ("{uri: {exact: /ab}}", "{uri: {prefix: /a}}", False),
    # Both could hold, but istiod looks into no regular expression.
    ('{uri: {regex: "/a.*"}}', "{uri: {exact: /ab}}", False),
    ("{headers: {a: {}}}", "{headers: {a: {exact: b}}}", False),
    ("{headers: {a: {}}}", "{headers: {b: {}}}", True),
    ("{withoutHeaders: {a: {exact: b}}}", "{withoutHeaders: {a: {exact: c}}}", False),
    ("{queryParams: {a: {exact: b}}}", "{queryParams: {a: {exact: c}}}", False),
    ("{method: {exact: GET}}", "{method: {exact: POST}}", False),
    ("{port: 50051}", "{port: 1}", False),
    ("{sourceLabels: {app: rag}}", "{sourceLabels: {app: gateway}}", False),
    ("{sourceLabels: {app: rag}}", "{sourceLabels: {version: a}}", True),
    ("{sourceNamespace: weft}", "{uri: {exact: /a}}", False),
    ("{uri: {exact: /a}}", "{sourceNamespace: weft}", True),
    ("{uri: {prefix: /a}, ignoreUriCase: true}", "{headers: {a: {}}}", False),
    ("{gateways: [mesh]}", "{gateways: [mesh, edge]}", False),
    ("{gateways: [mesh, edge]}", "{gateways: [mesh]}", True),
]


@pytest.mark.parametrize(("root", "own", "together"), TOGETHER)
def test_contradictions(tmp_path: Path, root: str, own: str, together: bool) -> None:
    """A delegate's match that contradicts all of the root's is refused: istiod would leave its entry out."""
    texts = (
        virtual_service(f"- match: [{root}]\n  delegate: {{name: d}}"),
        delegate(f"- match:\n    - {own}\n  {TO_RAG}", name="d"),
    )
    if together:
        (found,) = virtual_services(tmp_path, *texts)
        assert len(found.http[0].matches) == 1
    else:
        (problem,) = refusal(tmp_path, virtual_services, *texts)
        assert problem.startswith("16: spec.http[0].match[0]: contradicts every match of spec.http[0] at"), problem


def test_some_contradict(tmp_path: Path) -> None:
    """Of several pairs only those that hold together are left."""
    root = virtual_service("- match: [{uri: {exact: /a}}, {uri: {exact: /b}}]\n  delegate: {name: d}")
    (found,) = virtual_services(tmp_path, root, delegate(f"- match: [{{uri: {{exact: /b}}}}]\n  {TO_RAG}", name="d"))
    assert found.http[0].matches == (Match(HERE, uri=exact("/b")),)


PRIVATE = f"exportTo: ['.']\nhttp: [{{{TO_RAG}}}]"
REFUSALS = [
    ((), "7: spec.http[0].delegate: there is no VirtualService weft/d; add it, without hosts"),
    (
        (virtual_service(f"- {TO_RAG}", name="d"),),
        "7: spec.http[0].delegate: VirtualService weft/d has hosts, so it is no delegate; remove its hosts",
    ),
]


@pytest.mark.parametrize(("others", "expected"), REFUSALS)
def test_no_delegate(tmp_path: Path, others: tuple[str, ...], expected: str) -> None:
    """A delegate that is missing, or none, is told where it is named."""
    text = virtual_service("- delegate: {name: d}", name="root")
    assert refusal(tmp_path, virtual_services, text, *others) == [expected]


def test_private_delegate(tmp_path: Path) -> None:
    """A delegate that is shown to its own namespace only is none for another."""
    text = virtual_service("- delegate: {name: d, namespace: other}")
    private = written("VirtualService", PRIVATE, name="d", namespace="other")
    expected = "7: spec.http[0].delegate: VirtualService other/d is shown to its own namespace only (exportTo)"
    assert refusal(tmp_path, virtual_services, text, private) == [expected]


def test_unused(tmp_path: Path) -> None:
    """A delegate that nobody hands on to is told, beside all others."""
    text = virtual_service("- delegate: {name: gone}")
    found = refusal(tmp_path, virtual_services, text, delegate(f"- {TO_RAG}", name="d"))
    assert [problem.partition("; ")[0] for problem in found] == [
        "7: spec.http[0].delegate: there is no VirtualService weft/gone",
        "9: spec.hosts: has no hosts, so it is a delegate, and no VirtualService hands on to it",
    ]
