"""The one-feature cases: small files of Istio rules that both sides are given beside a common base."""

from __future__ import annotations

import re
from pathlib import Path

from tools.meshjudge.kustomized import list_files

FOLDER = Path(__file__).with_name("cases")
BASE = "base"
"""The case whose objects stand under all others."""

_SEPARATOR = re.compile(r"^---\n", re.MULTILINE)
_KIND = re.compile(r"^kind: (\w+)$", re.MULTILINE)
_NAME = re.compile(r"^metadata: \{name: ([\w-]+), namespace: ([\w-]+)", re.MULTILINE)


def case_names() -> list[str]:
    """All cases, `base` first."""
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    return [BASE, *(name for name in names if name != BASE)]


def write_case(name: str, folder: Path) -> list[Path]:
    """Puts the case's file as it is, and what stands under it of the base, into a folder as a kustomization; answers
    the files in the order in which they are listed."""
    case = FOLDER / f"{name}.yaml"
    own = case.read_text()
    files = [folder / case.name]
    files[0].write_text(own)
    if name != BASE:
        has = {_identity(document) for document in _SEPARATOR.split(own)}
        documents = _SEPARATOR.split((FOLDER / f"{BASE}.yaml").read_text())
        under = [document for document in documents if _identity(document) not in has]
        if under:
            files.insert(0, folder / f"{BASE}.yaml")
            files[0].write_text("---\n".join(under))
    list_files(files, folder)
    return files


def _identity(document: str) -> tuple[str, ...]:
    """Kind, name and namespace, as the cases write them."""
    kind, name = _KIND.search(document), _NAME.search(document)
    assert kind and name, f"a case's object must say kind and metadata in a line each:\n{document}"
    return (kind[1], *name.groups())
