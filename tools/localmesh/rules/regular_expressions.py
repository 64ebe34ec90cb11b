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
_FOREIGN = re.compile(
    r"\\(?:(?P<escape>[ZuUN]|[^\x00-\x7f])|.)"
    r"|(?P<comment>\(\?#)|(?P<flags>\(\?[a-zA-Z]*[aLxu][a-zA-Z]*[):-])|(?P<name>\(\?P<[^>]*[^\x00-\x7f>][^>]*>)",
    re.DOTALL,
)
"""What Python reads and RE2 does not; what an escape makes plain is passed over."""
_BACKSPACE = (ops.LITERAL, 8)


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
        raise node.problem(f"{text!r} is no regular expression, or one that only RE2 can read: {error}") from None
    for found in _FOREIGN.finditer(text):
        if found.lastgroup:
            raise node.problem(f"{found.group()} is not known to RE2, which Envoy has; say it in another way")
    parts = list(_parts(tree))
    if r"\b" in text and _BACKSPACE in parts:
        raise node.problem(r"\b in brackets is not known to RE2, which Envoy has; write \x08")
    for op, _ in parts:
        if op in _LACKING:
            raise node.problem(f"RE2, which Envoy has, lacks {_LACKING[op]}; say it in another way")
    if _repeats(tree) > _MOST_REPEATS:
        raise node.problem(f"RE2, which Envoy has, repeats at most {_MOST_REPEATS} times, one in another included")
    if re.search(r"(?<!\\)\{,", text):
        raise node.problem("{,n} is plain text to RE2, which Envoy has; write {0,n}")
    return text


def _parts(part: Any) -> Iterator[tuple[Any, Any]]:
    """All operations of a parsed expression with their arguments, those inside of others too."""
    for op, arguments in _steps(part):
        if op is not None:
            yield op, arguments
        yield from _parts(arguments)


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
    for item in part if isinstance(part, (parser.SubPattern, tuple, list)) else ():
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], type(ops.LITERAL)):
            yield item
        else:
            yield None, item
