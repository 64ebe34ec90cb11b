"""The way of a call through the mesh, and the file and line that each of its steps comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.localmesh.problems import Place
from tools.localmesh.workloads import BASE


class UnknownMethodError(Exception):
    """No contract has the method; the message names the nearest."""


@dataclass(frozen=True)
class Step:
    """One thing that is done with a call, and where that is written; None where nothing is: it is a default."""

    what: str
    value: str
    place: Place | None = None


@dataclass(frozen=True)
class Hop:
    """From a client to a service."""

    client: str
    service: str
    steps: tuple[Step, ...] = ()
    reached_by: str = ""


@dataclass(frozen=True)
class Explanation:
    """`hops`: the way of the call itself, from the edge on; `further`: the calls that its service makes for it."""

    method: str
    priority: str
    hops: tuple[Hop, ...] = ()
    further: tuple[Hop, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def text(self) -> str:
        """For a person, in lines."""
        raise NotImplementedError

    def json(self) -> dict[str, Any]:
        """For a program."""
        raise NotImplementedError


def explain_call(
    state: Path, method: str, priority: str = "normal", *, rules: Path = Path("mesh"), base: Path = BASE
) -> Explanation:
    """How the mesh of the stack in `state` treats a call of a method ("/package.Service/Method", with or without the
    first slash) with that priority. Raises UnknownMethodError, and MeshError where the rules cannot be read."""
    raise NotImplementedError
