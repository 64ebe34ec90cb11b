"""YAML with places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.localmesh.nodes import Node, nodes_of, read_nodes
from tools.localmesh.problems import MeshError, Place

FILE = Path("rules.yaml")


def node(text: str) -> Node:
    (only,) = nodes_of(text, Place(FILE, 1))
    return only


def problem(read: Callable[[], object]) -> str:
    with pytest.raises(MeshError) as caught:
        read()
    return str(caught.value)


def test_a_value_knows_its_place_and_its_way() -> None:
    """File, line and way of a value deep inside are those that its author sees."""
    found = node("spec:\n  http:\n    - name: a\n    - name: b\n      timeout: 3s\n")
    timeout = found.entries()["spec"].entries()["http"].items()[1].entries()["timeout"]
    assert (str(timeout.place), timeout.path) == ("rules.yaml:5", "spec.http[1].timeout")


def test_documents_of_one_file_keep_their_lines() -> None:
    """The second document begins where it begins in the file, and empty ones are none."""
    found = list(nodes_of("a: 1\n---\n---\nb: 2\n", Place(FILE, 1)))
    assert [each.place.line for each in found] == [1, 4]


def test_a_field_that_nobody_expects_is_refused() -> None:
    """The message names the field, its line, and what would be understood."""
    found = node("hosts: [a]\nhost: b\n")
    assert problem(lambda: found.fields("hosts", "http")) == (
        "rules.yaml:2: host: is not supported here; what is: hosts, http"
    )


def test_a_field_that_is_there_twice_is_refused() -> None:
    """PyYAML would take the last one in silence."""
    assert problem(node("a: 1\na: 2\n").entries) == "rules.yaml:2: a: is there twice, first on line 1; remove one"


@pytest.mark.parametrize(
    "text", ["a: &x {b: 1}\nc: *x\n", "b: 1\na: &r [*r]\n", "b: 1\na: !!null {b: 1}\n", "b: 1\na: !own 1"]
)
def test_what_means_other_than_it_looks_is_refused(text: str) -> None:
    """Aliases, for what is added to one would be added to the other too, or have no end; and tags."""
    assert "rules.yaml:2: " in (told := problem(lambda: node(text)))
    assert "is not supported: write out what is meant" in told


def test_nothing_is_no_map() -> None:
    """A map that was begun and not written is none that matches everything."""
    found = node("labels:\nother: {}\n").entries()
    assert problem(found["labels"].texts_by_name) == (
        "rules.yaml:1: labels: must be a map, and is nothing; write {} if nothing is meant"
    )
    assert found["other"].texts_by_name() == {}


def test_a_missing_field_is_named() -> None:
    """What is required is told by name."""
    assert "host is missing" in problem(lambda: node("subsets: []").fields("subsets", required=("host",)))


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("v: n", lambda value: value.text(), "n is a boolean to Kubernetes; write it in quotes"),
        ("v: 1", lambda value: value.text(), "must be a text, and is a number; write it in quotes"),
        ("v: ''", lambda value: value.text(), "must not be empty"),
        ("v: [a]", lambda value: value.text(), "must be a text, and is a list; write it in quotes"),
        ("v: a", lambda value: value.entries(), "must be a map, and is a text"),
        ("v: a", lambda value: value.items(), "must be a list, and is a text"),
        ("v: b", lambda value: value.choice("a", "c"), "'b' is not supported; what is: a, c"),
        ("v: 1.5", lambda value: value.integer(), "must be a whole number, and is a number"),
        ("v: 0x10", lambda value: value.integer(), "must be a whole number, and is a number that is not decimal"),
        ("v: 010", lambda value: value.integer(), "must be a whole number, and is a number that is not decimal"),
        ("v: 010", lambda value: value.number(0, 99), "must be a decimal number, and is a number that is not decimal"),
        ("v: 101", lambda value: value.integer(0, 100), "101 is not within 0 to 100"),
        ("v: a", lambda value: value.number(0, 1), "must be a decimal number, and is a text"),
        ("v: .nan", lambda value: value.number(0, 1), "must be a decimal number, and is a number that is not decimal"),
        ("v: yes", lambda value: value.flag(), "must be true or false"),
        ("v: 5", lambda value: value.duration_s(), "must be a text, and is a number; write it in quotes"),
        ("v: 5 s", lambda value: value.duration_s(), "'5 s' is not a duration; write it as 1.5s, 200ms or 1h30m"),
        ("v: 0s", lambda value: value.duration_s(), "0s is less than 0.001s, the least that is allowed"),
        ("v: x", lambda value: value.block(), 'must be a literal block, begun with "|-"'),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(text: str, read: Callable[[Node], object], expected: str) -> None:
    """Each reading says what it wants and what it found."""
    value = node(text).entries()["v"]
    assert problem(lambda: read(value)) == f"rules.yaml:1: v: {expected}"


@pytest.mark.parametrize(("text", "seconds"), [("1.5s", 1.5), ("200ms", 0.2), ("1h30m", 5400.0), ("1m0.5s", 60.5)])
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    """Units follow each other."""
    assert node(f"v: {text}").entries()["v"].duration_s() == seconds


def test_a_quoted_letter_is_a_text() -> None:
    """Kubernetes reads "n" in quotes as text too."""
    assert node("v: 'n'").entries()["v"].text() == "n"


def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    """The line is the parser's."""
    file = tmp_path / "rules.yaml"
    file.write_text("a: 1\nb: [\n")
    assert problem(lambda: list(read_nodes(file))).startswith(f"{file}:3: is not YAML: ")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a: \x07"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there, not UTF-8, or has characters that YAML does not."""
    file = tmp_path / "rules.yaml"
    if content is not None:
        file.write_bytes(content)
    assert problem(lambda: list(read_nodes(file))).startswith(f"{file}:1: ")


def test_merge_keys_are_refused() -> None:
    """What they merge would have two places."""
    assert "merge keys" in problem(lambda: node("b:\n  <<: {x: 1}\n").entries()["b"].entries())
