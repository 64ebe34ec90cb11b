"""What kustomize makes of `mesh/` and its component: made here anew, so that the translator's way is judged too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.meshjudge.kube_objects import shown

KUSTOMIZATION = "kustomization.yaml"


def with_component(files: Sequence[Path], component: Path) -> list[dict[str, Any]]:
    """All objects of the files, with what the component's patches (JSON Patch, RFC 6902) add to them."""
    objects = [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]
    for patch in yaml.safe_load((component / KUSTOMIZATION).read_text())["patches"]:
        target = patch["target"]
        chosen = [
            each for each in objects if each["kind"] == target["kind"] and each["metadata"]["name"] == target["name"]
        ]
        if not chosen:
            raise ValueError(f"{component}: there is no {target['kind']} {target['name']}")
        for operation in yaml.safe_load(patch["patch"]):
            if operation["op"] != "add":
                raise ValueError(f"{component}: {operation['op']} is not read here; add what it does")
            for each in chosen:
                _add(each, operation["path"], operation["value"])
    return objects


def write_objects(objects: Sequence[dict[str, Any]], folder: Path) -> Path:
    """As a file of a kustomization in the folder."""
    file = folder / "objects.yaml"
    file.write_text(shown(objects))
    list_files([file], folder)
    return file


def list_files(files: Sequence[Path], folder: Path) -> None:
    """Makes a kustomization of files in a folder, in their order."""
    header = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    (folder / KUSTOMIZATION).write_text(header + "".join(f"  - {file.name}\n" for file in files))


def _add(each: dict[str, Any], pointer: str, value: Any) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    node: Any = each
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    if isinstance(node, list):
        node.insert(len(node) if last == "-" else int(last), value)
    else:
        node[last] = value
