"""Names of hosts, and to whom a rule for one is shown."""

from __future__ import annotations

from tools.localmesh.nodes import Node
from tools.localmesh.workloads import CLUSTER_DOMAIN


def full_name(node: Node, namespace: str) -> str:
    """The name of a Service's host: NAME is of the rule's namespace, as Istio has it. Raises MeshError."""
    name = node.text()
    if "*" in name:
        raise node.problem(f"{name!r} stands for many hosts, which is not supported here; name each")
    if name != name.lower():
        raise node.problem(f"write {name.lower()}: names of hosts are in lower case")
    return name if "." in name else f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


def read_private(export_to: Node | None) -> bool:
    """Whether `exportTo` shows the rule to its own namespace only. Raises MeshError."""
    if export_to is None:
        return False
    names = [item.choice("*", ".") for item in export_to.items()]
    if len(names) != 1:
        raise export_to.problem('needs "*" or ".", one of them')
    return names == ["."]
