"""Rules for tests, as they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from tools.localmesh.documents import Document, read_documents
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.delegation import merge_delegates
from tools.localmesh.rules.destination_rules import DestinationRule, read_destination_rule
from tools.localmesh.rules.virtual_services import VirtualService, read_virtual_service

RAG = "rag.weft.svc.cluster.local"
TO_RAG = f"route: [{{destination: {{host: {RAG}}}}}]"
API = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"


def written(kind: str, spec: str, *, name: str = "one", namespace: str = "weft", api: str = API) -> str:
    """A document. `spec` begins on its fifth line."""
    head = f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
    return head + indent(spec.strip("\n"), "  ") + "\n"


def virtual_service(http: str, *, name: str = "one", hosts: str = f"[{RAG}]") -> str:
    """`http` are the items of that list, the first on the document's seventh line."""
    spec = f"hosts: {hosts}\nhttp:\n{indent(http.strip(), '  ')}"
    return written("VirtualService", spec, name=name)


def delegate(http: str, *, name: str) -> str:
    """`http` are the items of that list, the first on the document's sixth line."""
    return written("VirtualService", f"http:\n{indent(http.strip(), '  ')}", name=name)


def policy(spec: str, namespace: str = "weft", *, name: str = "one") -> str:
    """An AuthorizationPolicy."""
    return written("AuthorizationPolicy", spec, name=name, namespace=namespace, api=SECURITY)


def peers(spec: str, name: str = "one", namespace: str = "weft") -> str:
    """A PeerAuthentication."""
    return written("PeerAuthentication", spec, name=name, namespace=namespace, api=SECURITY)


def write(folder: Path, *texts: str) -> None:
    """To a file rules.yaml in the folder."""
    (folder / "rules.yaml").write_text("---\n".join(texts))
    (folder / "kustomization.yaml").write_text("resources: [rules.yaml]\n")


def documents(folder: Path, *texts: str) -> list[Document]:
    """From a file rules.yaml in the folder."""
    write(folder, *texts)
    return read_documents(folder)


def virtual_services(folder: Path, *texts: str) -> list[VirtualService]:
    """With delegates merged in."""
    found = [one for one in documents(folder, *texts) if one.kind == "VirtualService"]
    return merge_delegates([read_virtual_service(one) for one in found])


def destination_rules(folder: Path, *texts: str) -> list[DestinationRule]:
    """All there are."""
    return [read_destination_rule(one) for one in documents(folder, *texts) if one.kind == "DestinationRule"]


def refusal(folder: Path, read: Callable[..., Any], *texts: str) -> list[str]:
    """What is wrong, as "LINE: FIELD: TEXT", each."""
    with pytest.raises(MeshError) as refused:
        read(folder, *texts)
    return [f"{problem.place.line}: {problem.field}: {problem.text}" for problem in refused.value.problems]
