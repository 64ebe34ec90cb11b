"""Kustomize components: what they add to objects that are there already (JSON Patch, RFC 6902)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.localmesh.documents import KUSTOMIZATION, Document
from tools.localmesh.nodes import Node, nodes_of, read_nodes
from tools.localmesh.problems import MeshError, Problem


def add_component(folder: Path, documents: Sequence[Document]) -> None:
    """Does to the documents what the component's patches say. Only patches that add are supported.

    Raises MeshError, and may have done half: read the documents anew then.
    """
    problems: list[Problem] = []
    for root in read_nodes(folder / KUSTOMIZATION):
        fields = root.fields("apiVersion", required=("kind", "patches"))
        fields["kind"].choice("Component")
        for patch in fields["patches"].items():
            try:
                _apply(patch, documents)
            except MeshError as error:
                problems += error.problems
    if problems:
        raise MeshError(problems)


def _apply(patch: Node, documents: Sequence[Document]) -> None:
    fields = patch.fields(required=("target", "patch"))
    target = fields["target"].fields(required=("kind", "name"))
    kind, name = target["kind"].text(), target["name"].text()
    matching = [document for document in documents if (document.kind, document.name) == (kind, name)]
    if not matching:
        raise fields["target"].problem(f"there is no {kind} {name}")
    for operations in nodes_of(*fields["patch"].block()):
        for operation in operations.items():
            said = operation.fields(required=("op", "path", "value"))
            said["op"].choice("add")
            for document in matching:
                _add(document.root, said["path"], said["value"])


def _add(root: Node, path: Node, value: Node) -> None:
    """At a JSON pointer (RFC 6901)."""
    if not path.text().startswith("/"):
        raise path.problem("must begin with /, as in /spec/http/0/fault")
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path.text().split("/")[1:]]
    node = root
    for name in parents:
        children = dict(enumerate(node.items())) if node.is_list else node.entries()
        key = int(name) if node.is_list and name.isdigit() else name
        if key not in children:
            raise path.problem(f"there is no {name!r} in {node.path or 'the object'}")
        node = children[key]  # type: ignore[index]
    node.add(last, value)
