"""Objects that a kustomization lists, and what components add to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.components import add_component
from tools.localmesh.documents import read_documents
from tools.localmesh.problems import MeshError

OBJECT = """\
apiVersion: v1
kind: Thing
metadata: {name: one, namespace: weft}
spec:
  http:
    - name: a
"""
COMPONENT = """\
kind: Component
patches:
  - target: {kind: Thing, name: one}
    patch: |-
      - op: add
        path: /spec/http/0/fault
        value: {delay: 1s}
"""


def folder(path: Path, kustomization: str = "resources: [things.yaml]", **files: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "kustomization.yaml").write_text(kustomization)
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def problems(path: Path) -> str:
    with pytest.raises(MeshError) as caught:
        read_documents(path)
    return str(caught.value)


def test_documents_come_in_the_order_of_the_kustomization(tmp_path: Path) -> None:
    """Folders that it lists are read where they stand; files that it does not list are not read."""
    inner = OBJECT.replace("one", "two")
    folder(tmp_path / "inner", things=inner)
    listed = folder(tmp_path, "resources: [inner, things.yaml]", things=OBJECT, more="not: read")
    assert [document.name for document in read_documents(listed)] == ["two", "one"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OBJECT.replace("apiVersion: v1\n", ""), "things.yaml:1: apiVersion is missing; add it"),
        (OBJECT.replace("kind: Thing\n", ""), "things.yaml:1: kind is missing; add it"),
        (OBJECT.replace("name: one, ", ""), "metadata: name is missing; add it"),
        (OBJECT.replace(", namespace: weft", ""), "metadata: namespace is missing: it would depend on who applies it"),
        (OBJECT.replace("namespace: weft", "nmespace: weft"), "metadata.nmespace: is not supported here"),
        (OBJECT.replace("name: one", "name: One"), "things.yaml:3: metadata.name: is no name to Kubernetes"),
        (f"{OBJECT}---\n{OBJECT}", "things.yaml:8: metadata.name: Thing weft/one is also at"),
    ],
)
def test_an_object_that_is_none_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """With its file, its line, and what to do."""
    assert expected in problems(folder(tmp_path, things=text))


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    """One file does not hide the next."""
    told = problems(folder(tmp_path, "resources: [a.yaml, b.yaml]", a="x: 1", b="a: ["))
    assert "a.yaml:1: apiVersion is missing" in told
    assert "b.yaml:2: is not YAML" in told or "b.yaml:1: is not YAML" in told


def test_a_kustomization_that_does_more_is_refused(tmp_path: Path) -> None:
    """What it would do, a cluster would have, and a laptop not."""
    told = problems(folder(tmp_path, "resources: [things.yaml]\npatches: []\n", things=OBJECT))
    assert "kustomization.yaml:2: patches: is not supported here" in told
    assert "there is no" in problems(folder(tmp_path, "resources: [other.yaml]"))
    assert "kustomization.yaml:1: resources: lists nothing" in problems(folder(tmp_path, "resources: []"))
    moved = problems(folder(tmp_path, "namespace: other\nresources: [things.yaml]"))
    assert "things.yaml:3: metadata.namespace: the kustomization puts it in other" in moved
    assert "kind: 'Component' is not supported" in problems(folder(tmp_path, "kind: Component\nresources: []"))


@pytest.mark.parametrize("resource", [".", "..", "../other.yaml", "inner/../.", "things.json"])
def test_what_nobody_follows_is_no_resource(tmp_path: Path, resource: str) -> None:
    """Changes are looked for in YAML files below the folder; and a folder that lists itself would have no end."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "other.yaml").write_text(OBJECT)
    listed = folder(tmp_path / "rules", f"resources: [{resource}]", things=OBJECT)
    (listed / "things.json").write_text(OBJECT)
    assert "resources[0]: " in (told := problems(listed))
    assert "its changes would not be followed" in told


def test_a_component_adds_with_its_own_place(tmp_path: Path) -> None:
    """What it adds is read as if it stood there, and says where it comes from."""
    documents = read_documents(folder(tmp_path, things=OBJECT))
    component = folder(tmp_path / "faults", COMPONENT)
    add_component(component, documents)
    spec = documents[0].spec()
    assert spec is not None
    entry = spec.entries()["http"].items()[0].entries()
    assert entry["fault"].plain() == {"delay": "1s"}
    assert (entry["fault"].path, entry["fault"].place.file) == ("spec.http[0].fault", component / "kustomization.yaml")
    assert entry["fault"].place.line == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COMPONENT.replace("name: one", "name: two"), "kustomization.yaml:3: patches[0].target: there is no Thing two"),
        (COMPONENT.replace("http/0", "http/1"), "kustomization.yaml:6: [0].path: there is no '1' in spec.http"),
        (COMPONENT.replace("/spec/http/0/fault", "fault"), "kustomization.yaml:6: [0].path: must begin with /"),
        (COMPONENT.replace("op: add", "op: remove"), "kustomization.yaml:5: [0].op: 'remove' is not supported"),
        (COMPONENT.replace("kind: Component", "kind: Kustomization"), "kind: 'Kustomization' is not supported"),
    ],
)
def test_a_component_that_does_not_fit_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """With the line of its own file."""
    documents = read_documents(folder(tmp_path, things=OBJECT))
    with pytest.raises(MeshError) as caught:
        add_component(folder(tmp_path / "faults", text), documents)
    assert expected in str(caught.value)
