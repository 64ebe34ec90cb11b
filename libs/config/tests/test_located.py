"""Values of a YAML file know their lines, and a file that cannot be meant is refused where it goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from libs.config.located import MAX_BYTES, MAX_DEPTH, Located, LocatedError, parse, read_content, unknown

TEXT = """\
# what follows is read
one: 1
two:
  - a
  - "b"
three: {four: ~, "five": null}
six: &six
  seven: 07
eight: *six
"""


def plain(located: Located) -> Any:
    """The values alone."""
    if isinstance(located.value, Mapping):
        return {name: plain(value) for name, value in located.value.items()}
    if isinstance(located.value, tuple):
        return [plain(value) for value in located.value]
    return located.value


def places(located: Located) -> list[tuple[str, str]]:
    """Every value's path and place, outer ones first."""
    inner = located.value.values() if isinstance(located.value, Mapping) else ()
    return [(located.path, located.place), *(place for value in inner for place in places(value))]


def problem(content: bytes | str) -> str:
    with pytest.raises(LocatedError) as caught:
        parse(content.encode() if isinstance(content, str) else content, "lab.yaml")
    return caught.value.problem


def test_values_are_text_with_their_places() -> None:
    """Scalars stay the text that was written; each value has the line of its key, an alias that of its use."""
    root = parse(TEXT.encode(), "lab.yaml")
    six = {"seven": "07"}
    assert plain(root) == {
        "one": "1",
        "two": ["a", "b"],
        "three": {"four": None, "five": None},
        "six": six,
        "eight": six,
    }
    assert places(root) == [
        ("", "lab.yaml:2"),
        ("one", "lab.yaml:2"),
        ("two", "lab.yaml:3"),
        ("three", "lab.yaml:6"),
        ("three.four", "lab.yaml:6"),
        ("three.five", "lab.yaml:6"),
        ("six", "lab.yaml:7"),
        ("six.seven", "lab.yaml:8"),
        ("eight", "lab.yaml:9"),
        ("eight.seven", "lab.yaml:8"),
    ]


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa:\n  b: 1\n", b"a:\r\n  b: 1\r\n", b"%YAML 1.1\n---\na: {b: 1}\n...\n"]
)
def test_files_of_other_editors_are_read(content: bytes) -> None:
    """With a byte order mark, with the line ends of Windows, with the marks of a document."""
    assert plain(parse(content, "lab.yaml")) == {"a": {"b": "1"}}


def test_quoted_text_is_never_nothing() -> None:
    """`~` is nothing, `"~"` is text."""
    assert plain(parse(b"[~, '~', '']", "lab.yaml")) == [None, "~", ""]


@pytest.mark.parametrize("content", [b"", b"# a comment\n", b"---\n", b"~\n"])
def test_an_empty_file_is_an_empty_value(content: bytes) -> None:
    """Nothing, comments alone, and an empty document."""
    assert parse(content, "lab.yaml").value is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\nb: c: d\n", "lab.yaml:2: cannot be read as YAML (mapping values are not allowed in this context); "),
        ("a: 1\nb: [1\n", "lab.yaml:3: cannot be read as YAML ("),
        ("a: 1\n\tb: 1\n", "lab.yaml:2: cannot be read as YAML ("),
        ("a:\n  b: 1\n  b: 2\n", "lab.yaml:3: a.b stands twice, first at lab.yaml:2; remove one"),
        ("a: 1\n---\nb: 1\n", "lab.yaml:2: a second document begins; a file holds one: remove the `---` before it"),
        (
            "a: 1\nb: !!python/object:os.system {}\n",
            "lab.yaml:2: the tag 'tag:yaml.org,2002:python/object:os.system' is",
        ),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "lab.yaml:3: merge keys (`<<`) are not understood here; "),
        ("a: 1\n? [b]\n: 1\n", "lab.yaml:2: a key must be text"),
        ("a: *b\n", "lab.yaml:1: the alias *b is of nothing that stands before it, whole"),
        ("a: &a [*a]\n", "lab.yaml:1: the alias *a is of nothing that stands before it, whole"),
        (b"a: 1\nb: \xff\n", "lab.yaml:2: is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \x00\n", "lab.yaml:2: "),
        (b"a: 1\nb: \x1b[2J\n", "lab.yaml:2: "),
        ('"\\e[2J": 1\n"\\e[2J": 1\n', "lab.yaml:2: \\x1b[2J stands twice, first at lab.yaml:1; remove one"),
        ("a: 1\nb: " + "[" * 100_000, f"lab.yaml:2: is nested more than {MAX_DEPTH} deep"),
    ],
)
def test_what_cannot_be_meant_is_refused(content: bytes | str, told: str) -> None:
    """With the line, and no more than that is read."""
    assert problem(content).startswith(told)


def test_aliases_are_no_bomb() -> None:
    """What aliases unfold to counts as if it were written out, in number and in depth."""
    wide = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
    assert "more than 200,000 values" in problem(wide)
    deep = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 10_000))])
    assert problem(deep).endswith(f"is nested more than {MAX_DEPTH} deep")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """One that is not there, is a folder, or is too large."""
    with pytest.raises(LocatedError, match="No such file or directory"):
        read_content(tmp_path / "lab.yaml", "lab.yaml")
    with pytest.raises(LocatedError, match="Is a directory"):
        read_content(tmp_path, "lab.yaml")
    (tmp_path / "large").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(LocatedError, match="is larger than 4 MiB"):
        read_content(tmp_path / "large", "lab.yaml")


def test_unknown_names_find_the_nearest() -> None:
    """A near name is proposed; where none is near, those that there are."""
    assert unknown("tenent", ["tenant", "key"], "setting") == ("there is no setting 'tenent'; did you mean 'tenant'?")
    assert unknown("x", ["tenant", "key"], "setting") == "there is no setting 'x'; known are key, tenant"
    assert unknown("x", [], "plan") == "there is no plan 'x', and none is declared"
