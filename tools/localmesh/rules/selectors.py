"""Which workloads a policy is for."""

from __future__ import annotations

from collections.abc import Mapping

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node

ROOT_NAMESPACE = "istio-system"
"""What is written there without a selector is for the whole mesh."""


def read_selector(selector: Node | None, document: Document) -> Mapping[str, str]:
    """The labels of `selector.matchLabels`; none where there is no selector. Raises MeshError."""
    if selector is None:
        return {}
    labels = selector.fields(required=("matchLabels",))["matchLabels"]
    found = labels.texts_by_name()
    if not found:
        raise labels.problem("selects everything; leave the selector out, that says so")
    for name, value in labels.entries().items():
        if "*" in name or "*" in value.text(empty=True):
            raise value.problem("labels have no wildcards; name the value")
    if document.namespace == ROOT_NAMESPACE:
        raise selector.problem(f"is not supported in {ROOT_NAMESPACE}; write the policy in the workload's namespace")
    return found
