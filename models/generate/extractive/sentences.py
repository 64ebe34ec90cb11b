"""Splits a passage into what can be quoted on its own: sentences, list items, code with the line that introduces it."""

import re
from dataclasses import dataclass, field

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(`*]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|St|No|Fig|Sec|approx)|\b[A-Z])\.$")
_ITEM = re.compile(r"^ {0,3}(?:[-*+•]|\d{1,3}[.)]|\([a-z0-9]\))\s+")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_CODE = re.compile(r"^(?:   |\t|>>> )")
_FOOTNOTE = re.compile(r"(?<![\w\])])\s*\[\d+\]")


@dataclass
class _Block:
    kind: str  # prose, item, code or fence
    lines: list[str] = field(default_factory=list)
    closed: bool = False  # a fence that has ended


def split_passage(text: str) -> list[str]:
    """The quotable units of a passage, in its order; one that ends with a colon is joined with the block that follows.

    Prose and list items have their line breaks and footnote marks ([3]) taken out, code stays as it is.
    """
    units: list[str] = []
    for block in _blocks(text):
        if block.kind == "prose":
            units += _sentences(_on_one_line(block))
            continue
        unit = _on_one_line(block) if block.kind == "item" else "\n".join(block.lines)
        if units and units[-1].endswith(":"):
            units[-1] += f"\n{unit}"
        else:
            units.append(unit)
    return units


def _blocks(text: str) -> list[_Block]:
    blocks: list[_Block] = []
    after_gap = False
    for line in text.split("\n"):
        last = blocks[-1] if blocks else _Block("none", closed=True)
        if last.kind == "fence" and not last.closed:
            last.lines.append(line)
            last.closed = bool(_FENCE.match(line))
        elif not line.strip():
            after_gap = True
        else:
            kind = _kind(line)
            if _continues(last, kind, after_gap):
                last.lines += [""] * after_gap + [line.rstrip()]
            else:
                blocks.append(_Block(kind, [line.rstrip()]))
            after_gap = False
    return blocks


def _kind(line: str) -> str:
    for kind, pattern in (("fence", _FENCE), ("item", _ITEM), ("code", _CODE)):
        if pattern.match(line):
            return kind
    return "prose"


def _continues(last: _Block, kind: str, after_gap: bool) -> bool:
    """Code goes on after an empty line; an item goes on, indented or not, until one."""
    if last.kind == kind == "code":
        return True
    return not after_gap and (last.kind == kind == "prose" or (last.kind == "item" and kind in ("prose", "code")))


def _on_one_line(block: _Block) -> str:
    """`::`, which announces code in reStructuredText, becomes a colon."""
    text = _FOOTNOTE.sub("", re.sub(r"\s+", " ", " ".join(block.lines))).strip()
    return re.sub(r"[.\s]*::$", ":", text)


def _sentences(text: str) -> list[str]:
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text[: match.start()][-12:]):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]
