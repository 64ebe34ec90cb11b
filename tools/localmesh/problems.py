"""What is wrong with a file, said so that its author finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Place:
    """A line (from 1) of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: `field` is its way in the document ("spec.http[0].timeout"), `text` what is wrong and what to do."""

    place: Place
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {self.text}" if self.field else f"{self.place}: {self.text}"


class MeshError(Exception):
    """Rules that cannot be used: every problem that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
