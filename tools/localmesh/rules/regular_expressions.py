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
    for op, arguments in _operations(tree):
        if op in _LACKING:
            raise node.problem(f"RE2, which Envoy has, lacks {_LACKING[op]}; say it in another way")
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and _exceeds(arguments):
            raise node.problem(f"RE2, which Envoy has, repeats at most {_MOST_REPEATS} times")
    if re.search(r"(?<!\\)\{,", text):
        raise node.problem("{,n} is plain text to RE2, which Envoy has; write {0,n}")
    return text


def _exceeds(arguments: Any) -> bool:
    least, most, _ = arguments
    return any(number != ops.MAXREPEAT and number > _MOST_REPEATS for number in (least, most))


def _operations(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All operations of a parsed expression, those inside of others too."""
    for op, arguments in tree:
        yield op, arguments
        yield from _nested(arguments)


def _nested(arguments: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(arguments, parser.SubPattern):
        yield from _operations(arguments)
    elif isinstance(arguments, (tuple, list)):
        for argument in arguments:
            yield from _nested(argument)
