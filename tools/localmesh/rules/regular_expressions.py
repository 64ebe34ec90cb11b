"""Regular expressions as Envoy has them: RE2 (github.com/google/re2/wiki/Syntax), of the whole text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from tools.localmesh.nodes import Node

MOST_CHARACTERS = 1024
"""Istio takes no more."""
_MOST_REPEATS = 1000
_LACKING = {
    ops.ASSERT: "lookahead and lookbehind",
    ops.ASSERT_NOT: "lookahead and lookbehind",
    ops.GROUPREF: "backreferences",
    ops.GROUPREF_EXISTS: "conditions on groups",
    ops.ATOMIC_GROUP: "atomic groups",
    ops.POSSESSIVE_REPEAT: "possessive repeats",
}
_FOREIGN = re.compile(r"\\(?:\\|(?P<escape>[ZuUN]))|(?P<comment>\(\?#)|(?P<flags>\(\?[a-zA-Z]*[aLxu][a-zA-Z]*[):-])")
"""What Python reads and RE2 does not; a backslash that is escaped itself is passed over."""


def read_regular_expression(node: Node) -> str:
    """What RE2 and Python both know, as it is written. Raises MeshError."""
    text = node.text()
    if len(text) > MOST_CHARACTERS:
        raise node.problem(f"has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(text)
    except (re.error, OverflowError) as error:
        raise node.problem(f"{text!r} is no regular expression of RE2: {error}") from None
    for found in _FOREIGN.finditer(text):
        if found.lastgroup:
            raise node.problem(f"{found.group()} is not known to RE2, which Envoy has; say it in another way")
    for op in _operations(tree):
        if op in _LACKING:
            raise node.problem(f"RE2, which Envoy has, lacks {_LACKING[op]}; say it in another way")
    if _repeats(tree) > _MOST_REPEATS:
        raise node.problem(f"RE2, which Envoy has, repeats at most {_MOST_REPEATS} times, one in another included")
    if re.search(r"(?<!\\)\{,", text):
        raise node.problem("{,n} is plain text to RE2, which Envoy has; write {0,n}")
    return text


def _operations(part: Any) -> Iterator[Any]:
    """All operations of a parsed expression, those inside of others too."""
    for op, arguments in _steps(part):
        if op is not None:
            yield op
        yield from _operations(arguments)


def _repeats(part: Any) -> int:
    """How often the most repeated part is: a repeat in a repeat counts that many times."""
    most = 1
    for op, arguments in _steps(part):
        times = 1
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, bound, _ = arguments
            times = max(1, least if bound == ops.MAXREPEAT else bound)
        most = max(most, times * _repeats(arguments))
    return most


def _steps(part: Any) -> Iterator[tuple[Any, Any]]:
    """Operations and their arguments; what only holds others has no operation."""
    if isinstance(part, parser.SubPattern):
        yield from part
    elif isinstance(part, (tuple, list)):
        for item in part:
            yield None, item
