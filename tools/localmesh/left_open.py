"""What rules leave out or leave open, with nothing wrong in them: somebody may have meant it for a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.localmesh.documents import KUSTOMIZATION, SUFFIXES, resource_files
from tools.localmesh.nodes import shown
from tools.localmesh.problems import Place
from tools.localmesh.rules.peer_authentication import Mode, effective
from tools.localmesh.rules.read import read_rules
from tools.localmesh.workloads import Registry


def left_open(folder: Path, registry: Registry) -> Iterator[str]:
    """A line for each file of the folder that its kustomization does not list, and for each mode under which workloads
    take calls without mutual TLS. Raises MeshError."""
    listed = {file.resolve() for file in resource_files(folder)}
    for file in sorted(folder.iterdir()):
        if file.suffix in SUFFIXES and file.name != KUSTOMIZATION and file.resolve() not in listed:
            yield f"{shown(file)} is not in force: {KUSTOMIZATION} does not list it"
    policies = read_rules(folder, registry).peer_authentications
    names: dict[tuple[Mode, Place | None], dict[str, None]] = {}
    for service in registry.services:
        for workload in registry.behind(service):
            for port in service.ports:
                found = effective(policies, workload, port.target)
                if found.mode is not Mode.STRICT:
                    names.setdefault((found.mode, found.place), {})[workload.name] = None
    for (mode, place), reached in names.items():
        yield f"Mutual TLS is {mode.value} ({place or 'by default'}): calls without it get to {', '.join(reached)}"
