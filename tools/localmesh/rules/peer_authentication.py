"""PeerAuthentication: whether a workload takes calls that are not under mutual TLS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tools.localmesh.documents import Document
from tools.localmesh.nodes import Node
from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.rules.selectors import ROOT_NAMESPACE, read_selector
from tools.localmesh.workloads import Workload, includes


class Mode(Enum):
    """What a port takes: mutual TLS only, both, or plain text only."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


@dataclass(frozen=True)
class PortMode:
    """What is written for one port of the pods; `mode` None inherits the workload's."""

    mode: Mode | None
    place: Place = field(compare=False)


@dataclass(frozen=True)
class PeerAuthentication:
    """For the workloads of a namespace with the selector's labels; with none for the whole namespace, in the root
    namespace for the whole mesh. `mode` None (UNSET, or not there) inherits. `ports` are the pods' own."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    mode: Mode | None
    ports: Mapping[int, PortMode]
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Effective:
    """What holds for a port, and where that is written; nowhere is Istio's default."""

    mode: Mode
    place: Place | None = field(compare=False)


def read_peer_authentication(document: Document) -> PeerAuthentication:
    """Raises MeshError."""
    spec = document.spec()
    fields = spec.fields("selector", "mtls", "portLevelMtls") if spec else {}
    selector = read_selector(fields.get("selector"), document)
    ports = _ports(fields["portLevelMtls"], bool(selector)) if "portLevelMtls" in fields else {}
    mode = _mode(fields["mtls"]) if "mtls" in fields else None
    place = fields["mtls"].place if "mtls" in fields else document.place
    return PeerAuthentication(document.name, document.namespace, selector, mode, ports, place)


def effective(policies: Iterable[PeerAuthentication], workload: Workload, port: int) -> Effective:
    """What holds for a port of the workload's pods: its own policy before the namespace's before the mesh's
    (ComposePeerAuthentication in istio/pilot/pkg/security/authn).

    Raises MeshError for two policies of one level: a cluster takes the older, and files do not tell which that is.
    """
    levels: dict[str, PeerAuthentication] = {}
    for policy in policies:
        if concerns(policy, workload):
            other = levels.setdefault(_level(policy), policy)
            if other is not policy:
                text = f"{policy.name} and {other.name} ({other.place}) are both for {workload.name}; keep one"
                raise MeshError([Problem(policy.place, "spec", text)])
    found = Effective(Mode.PERMISSIVE, None)
    for level in ("mesh", "namespace", "workload"):
        written = levels.get(level)
        if written and written.mode:
            found = Effective(written.mode, written.place)
    own = levels["workload"].ports.get(port) if "workload" in levels else None
    return Effective(own.mode, own.place) if own and own.mode else found


def _level(policy: PeerAuthentication) -> str:
    if policy.selector:
        return "workload"
    return "mesh" if policy.namespace == ROOT_NAMESPACE else "namespace"


def concerns(policy: PeerAuthentication, workload: Workload) -> bool:
    """Whether it is written for the workload, for its namespace or for the mesh."""
    return policy.namespace in (workload.namespace, ROOT_NAMESPACE) and includes(workload.labels, policy.selector)


def _ports(node: Node, selects: bool) -> dict[int, PortMode]:
    ports: dict[int, PortMode] = {}
    for name, entry in node.entries().items():
        if not selects:
            raise node.problem("needs a selector: ports are a workload's; add spec.selector.matchLabels")
        if not (re.fullmatch(r"[1-9][0-9]{0,4}", name) and int(name) <= 65535):
            raise entry.problem("must be the number of a port, 1 to 65535")
        ports[int(name)] = PortMode(_mode(entry), entry.place)
    return ports


def _mode(node: Node) -> Mode | None:
    """From `{mode: ...}`; nothing written is UNSET."""
    written = node.fields("mode").get("mode")
    name = written.choice("UNSET", *(mode.value for mode in Mode)) if written else "UNSET"
    return None if name == "UNSET" else Mode(name)
