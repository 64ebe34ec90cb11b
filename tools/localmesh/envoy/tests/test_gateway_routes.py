"""Routes of a Gateway's server."""

from __future__ import annotations

from pathlib import Path

from tools.localmesh.envoy.routes import edge_routes
from tools.localmesh.envoy.tests.traffic import GATEWAY, PLAIN, SERVER, a_mesh, client
from tools.localmesh.rules.tests.written import RAG, TO_RAG, virtual_service, written

CLUSTER = f"outbound|50051||{RAG}@client-0"


def test_edge(tmp_path: Path) -> None:
    """A Gateway's server has a virtual host for each name, and the Service's own port where none is written."""
    rules = [
        written("VirtualService", f"hosts: {hosts}\ngateways: [edge]\nhttp: [{{name: a, {TO_RAG}}}]", name=name)
        for name, hosts in (("one", "['*']"), ("two", "[api.example]"))
    ]
    mesh = a_mesh(tmp_path, *rules, virtual_service(f"- name: mesh\n  {TO_RAG}", name="three"))
    found = edge_routes(mesh, client(mesh), GATEWAY, SERVER)
    assert [(host["name"], host["domains"]) for host in found["virtual_hosts"]] == [
        ("*:8080", ["*"]),
        ("api.example:8080", ["api.example"]),
    ]
    for host in found["virtual_hosts"]:
        assert [(route["name"], route["route"]["cluster"]) for route in host["routes"]] == [("a", CLUSTER)]


def test_edge_without_rules(tmp_path: Path) -> None:
    """A server for which there are no rules knows no way."""
    mesh = a_mesh(tmp_path, PLAIN)
    (host,) = edge_routes(mesh, client(mesh), GATEWAY, SERVER)["virtual_hosts"]
    assert (host["domains"], host["routes"]) == (["*"], [])
