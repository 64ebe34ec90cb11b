"""Kubernetes objects from a folder that a kustomization lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.localmesh.nodes import Node, read_nodes, shown
from tools.localmesh.problems import MeshError, Place, Problem

KUSTOMIZATION = "kustomization.yaml"
SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True)
class Document:
    """An object: what it is, what it is called, and the rest as it is written."""

    api_version: str
    kind: str
    name: str
    namespace: str
    root: Node

    @property
    def place(self) -> Place:
        return self.root.place

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def spec(self) -> Node | None:
        """`spec`, where there is one; other fields of the object than the usual ones are refused."""
        return self.root.fields("apiVersion", "kind", "metadata", "spec").get("spec")


def read_documents(folder: Path) -> list[Document]:
    """All objects of the files that the folder's kustomization lists, in its order; folders among them likewise.

    Raises MeshError with all problems that could be found: a file that is no YAML, an object without apiVersion, kind
    or name, two of the same kind and name, or a kustomization that does more than to list resources, or moves them to
    another namespace.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for file, namespace in _resources(folder):
        try:
            documents += [_document(node, namespace) for node in read_nodes(file)]
        except MeshError as error:
            problems += error.problems
    seen: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        first = seen.setdefault((document.kind, document.namespace, document.name), document)
        if first is not document:
            problems.append(Problem(document.place, "metadata.name", f"{document.title} is also at {first.place}"))
    if problems:
        raise MeshError(problems)
    return documents


def resource_files(folder: Path) -> list[Path]:
    """The files that the folder's kustomization lists, without those that are kustomizations. Raises MeshError."""
    return [file for file, _ in _resources(folder)]


def _resources(folder: Path) -> list[tuple[Path, str]]:
    """The files, and the namespace that their kustomization puts them in ("" where they stay in their own)."""
    kustomization = folder / KUSTOMIZATION
    nodes = list(read_nodes(kustomization))
    if len(nodes) != 1:
        raise MeshError([Problem(Place(shown(kustomization), 1), "", "must hold one Kustomization")])
    found: list[tuple[Path, str]] = []
    fields = nodes[0].fields("apiVersion", "kind", "namespace", required=("resources",))
    if "kind" in fields:
        fields["kind"].choice("Kustomization")
    namespace = fields["namespace"].text() if "namespace" in fields else ""
    if not fields["resources"].items():
        raise fields["resources"].problem("lists nothing; name the files to apply")
    for item in fields["resources"].items():
        path = folder / item.text()
        if folder.resolve() not in path.resolve().parents:
            raise item.problem(f"{shown(path)} is not below this folder: its changes would not be followed; move it")
        if path.is_dir():
            found += [(file, namespace or inner) for file, inner in _resources(path)]
        elif path.suffix not in SUFFIXES:
            raise item.problem(f"its changes would not be followed; call it {path.stem}.yaml")
        elif path.exists():
            found.append((path, namespace))
        else:
            raise item.problem(f"there is no {shown(path)}")
    return found


def _document(node: Node, namespace_for_all: str) -> Document:
    found = node.entries()
    for name in ("apiVersion", "kind", "metadata"):
        if name not in found:
            raise node.problem(f"{name} is missing; add it")
    metadata = found["metadata"].fields("name", "namespace", "labels", "annotations", required=("name",))
    for name in ("labels", "annotations"):
        if name in metadata:
            metadata[name].texts_by_name()
    kind = found["kind"].text()
    namespace = metadata["namespace"].text() if "namespace" in metadata else ""
    if not namespace and kind != "Namespace":
        raise found["metadata"].problem("namespace is missing: it would depend on who applies it; add it")
    if namespace and namespace_for_all not in ("", namespace):
        raise metadata["namespace"].problem(f"the kustomization puts it in {namespace_for_all}: write that here too")
    for name in ("name", "namespace"):
        if name in metadata and not _NAME.fullmatch(metadata[name].text()):
            raise metadata[name].problem("is no name to Kubernetes: only small letters, digits, - and .")
    return Document(found["apiVersion"].text(), kind, metadata["name"].text(), namespace, node)
