"""Questions to Python's FAQ and tutorial: 307 passages, 50 questions that one of them answers, 72 that none does.

The passages and the answerable questions are from Python's documentation, (c) Python Software Foundation, PSF licence
version 2 (https://docs.python.org/3/license.html). Thresholds are chosen on one half of the questions, tested on the
other.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Asked:
    """A question. `gold`: the document that answers it, or "". `kind`: "faq", "general", "near", "absurd"."""

    text: str
    gold: str
    kind: str


@cache
def documents() -> MappingProxyType[str, str]:
    """The passages, one a document, by document id (`faq/design#4` is `faq-design-4`)."""
    return MappingProxyType({_document_id(passage["id"]): passage["text"] for passage in _fixture()["passages"]})


@cache
def answerable() -> tuple[Asked, ...]:
    """The questions that a document answers."""
    return tuple(Asked(item["q"], _document_id(item["gold"]), "faq") for item in _fixture()["qa"])


@cache
def unanswerable() -> tuple[Asked, ...]:
    """Questions about the world, about other languages and tools, and about nothing that makes sense."""
    return tuple(Asked(text, "", kind) for kind, text in json.loads((_DATA / "unanswerable.json").read_text()))


def calibration() -> tuple[Asked, ...]:
    """Every other question, to choose by."""
    return (*answerable()[::2], *unanswerable()[::2])


def held_out() -> tuple[Asked, ...]:
    """The others, to test on."""
    return (*answerable()[1::2], *unanswerable()[1::2])


@cache
def _fixture() -> dict[str, list[dict[str, str]]]:
    fixture: dict[str, list[dict[str, str]]] = json.loads(gzip.decompress((_DATA / "pyfaq.json.gz").read_bytes()))
    return fixture


def _document_id(passage_id: str) -> str:
    return passage_id.replace("/", "-").replace("#", "-")
